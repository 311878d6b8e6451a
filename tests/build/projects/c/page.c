#include "page.h"

const char *page(void) { return "C " VERSION "\n"; }
