/* What the server says. */
const char *page(void);
