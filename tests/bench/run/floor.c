// What any program must have the kernel do to run a command in a container of the two configurations of
// bench-run: namespaces, cgroups, mounts, devices, limits, capabilities, a filter, execve, and the end of all that.
// It reads no configuration, checks nothing, follows every link and records nothing, so it is a bound and no tool.
//
//     cc -O2 -static -o floor floor.c && ./floor min|docker ROOTFS NAME
//
// bench-run builds and runs it under the name `floor`.

#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define MUST(call) do { if ((call) < 0) err(1, "%s", #call); } while (0)
#define COUNT(list) (sizeof(list) / sizeof *(list))

// libc's sys/mount.h and the kernel's linux/mount.h declare the same names, so that only one can be included.
enum { RDONLY = 1, NOSUID = 2, NODEV = 4, NOEXEC = 8, BIND = 4096, REC = 16384, SLAVE = 1 << 19, STRICTATIME = 1 << 24,
       DETACH = 2 };
int mount(const char *, const char *, const char *, unsigned long, const void *);
int umount2(const char *, int);

static const char *const controllers[] = {"cpuset", "devices", "memory", "cpu", "cpuacct", "pids", "blkio", "freezer",
                                          "systemd"};

static char path[4096];
static const char *name;
static int docker;

static const char *cgroup(const char *controller, const char *file) {
    snprintf(path, sizeof path, "/sys/fs/cgroup/%s/%s%s", controller, name, file);
    return path;
}

static void put(const char *controller, const char *file, const char *text) {
    int fd;
    MUST(fd = open(cgroup(controller, file), O_WRONLY | O_CLOEXEC));
    MUST(write(fd, text, strlen(text)));
    close(fd);
}

static void make_cgroups(void) {
    for (size_t i = 0; i < COUNT(controllers); i++)
        MUST(mkdir(cgroup(controllers[i], ""), 0755));
    put("cpuset", "/cpuset.cpus", "0");
    put("cpuset", "/cpuset.mems", "0");
    put("devices", "/devices.deny", "a");
    static const char *const allowed[] = {"b *:* m",   "c *:* m",   "c 1:3 rwm", "c 1:5 rwm",    "c 1:7 rwm", "c 1:8 rwm",
                                          "c 1:9 rwm", "c 5:0 rwm", "c 5:2 rwm", "c 10:200 rwm", "c 136:* rwm"};
    for (size_t i = 0; i < COUNT(allowed); i++)
        put("devices", "/devices.allow", allowed[i]);
    if (docker) {
        put("memory", "/memory.limit_in_bytes", "268435456");
        put("pids", "/pids.max", "100");
        put("cpu", "/cpu.shares", "512");
    }
}

static void make_devices(void) {
    static const struct { const char *path; int major, minor; } devices[] = {
        {"dev/null", 1, 3}, {"dev/zero", 1, 5}, {"dev/full", 1, 7}, {"dev/random", 1, 8}, {"dev/urandom", 1, 9}, {"dev/tty", 5, 0}};
    for (size_t i = 0; i < COUNT(devices); i++)
        MUST(mknod(devices[i].path, S_IFCHR | 0666, makedev(devices[i].major, devices[i].minor)));
    MUST(symlink("/proc/self/fd", "dev/fd"));
    MUST(symlink("/proc/self/fd/0", "dev/stdin"));
    MUST(symlink("/proc/self/fd/1", "dev/stdout"));
    MUST(symlink("/proc/self/fd/2", "dev/stderr"));
    MUST(symlink("/proc/kcore", "dev/core"));
    MUST(symlink("pts/ptmx", "dev/ptmx"));
}

static void mount_cgroups(void) {
    char target[64], source[4096];
    MUST(mount("tmpfs", "sys/fs/cgroup", "tmpfs", NOSUID | NODEV | NOEXEC, "mode=755"));
    for (size_t i = 0; i < COUNT(controllers); i++) {
        snprintf(target, sizeof target, "sys/fs/cgroup/%s", controllers[i]);
        snprintf(source, sizeof source, "%s", cgroup(controllers[i], ""));
        MUST(mkdir(target, 0755));
        int tree = syscall(SYS_open_tree, AT_FDCWD, source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
        struct mount_attr attributes = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC};
        MUST(syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attributes, sizeof attributes));
        MUST(syscall(SYS_move_mount, tree, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH));
        close(tree);
    }
    struct mount_attr attributes = {.attr_set = MOUNT_ATTR_RDONLY};
    MUST(syscall(SYS_mount_setattr, AT_FDCWD, "sys/fs/cgroup", 0, &attributes, sizeof attributes));
}

// What is not there is left out, as by every runtime.
static void hide(void) {
    static const char *const files[] = {"proc/kcore", "proc/keys", "proc/latency_stats", "proc/timer_list", "proc/timer_stats",
                                        "proc/sched_debug", "proc/interrupts"};
    static const char *const folders[] = {"proc/acpi", "proc/asound", "proc/scsi", "sys/firmware",
                                          "sys/devices/virtual/powercap"};
    static const char *const readonly[] = {"proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"};
    for (size_t i = 0; i < COUNT(files) - !docker; i++)
        mount("/dev/null", files[i], NULL, BIND, NULL);
    for (size_t i = 0; i < COUNT(folders) - !docker; i++)
        mount("tmpfs", folders[i], "tmpfs", RDONLY, "size=0");
    for (size_t i = 0; i < COUNT(readonly); i++) {
        int tree = syscall(SYS_open_tree, AT_FDCWD, readonly[i], OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
        if (tree < 0) continue;
        struct mount_attr attributes = {.attr_set = MOUNT_ATTR_RDONLY};
        MUST(syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attributes, sizeof attributes));
        MUST(syscall(SYS_move_mount, tree, "", AT_FDCWD, readonly[i], MOVE_MOUNT_F_EMPTY_PATH));
        close(tree);
    }
}

// As long as keel's filter of Docker's profile; every call is allowed by its second instruction.
static void filter(void) {
    static struct sock_filter code[330];
    code[0] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0);
    code[1] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JA, COUNT(code) - 3, 0, 0);
    for (size_t i = 2; i < COUNT(code) - 1; i++)
        code[i] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, i, COUNT(code) - i - 2 < 256 ? COUNT(code) - i - 2 : 255, 0);
    code[COUNT(code) - 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {COUNT(code), code};
    MUST(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program));
}

static void drop_capabilities(void) {
    uint64_t kept = docker ? 0xa80425fb : 1 << CAP_KILL | 1 << CAP_NET_BIND_SERVICE | 1 << CAP_AUDIT_WRITE;
    for (int cap = 0; cap <= CAP_LAST_CAP; cap++)
        if (!(kept >> cap & 1)) MUST(prctl(PR_CAPBSET_DROP, cap));
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {{kept, kept, 0}, {0, 0, 0}};
    MUST(syscall(SYS_capset, &header, data));
}

static void contain(const char *rootfs) {
    for (size_t i = 0; i < COUNT(controllers); i++)
        put(controllers[i], "/tasks", "0");
    int inet = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq loopback = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    MUST(ioctl(inet, SIOCSIFFLAGS, &loopback));
    close(inet);
    MUST(mount(NULL, "/", NULL, REC | SLAVE, NULL));
    MUST(mount(rootfs, rootfs, NULL, BIND | REC, NULL));
    MUST(chdir(rootfs));
    MUST(mount("proc", "proc", "proc", 0, NULL));
    MUST(mount("tmpfs", "dev", "tmpfs", NOSUID | STRICTATIME, "mode=755,size=65536k"));
    MUST(mkdir("dev/pts", 0755));
    MUST(mkdir("dev/shm", 0755));
    MUST(mkdir("dev/mqueue", 0755));
    MUST(mount("devpts", "dev/pts", "devpts", NOSUID | NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5"));
    MUST(mount("shm", "dev/shm", "tmpfs", NOSUID | NODEV | NOEXEC, "mode=1777,size=65536k"));
    MUST(mount("mqueue", "dev/mqueue", "mqueue", NOSUID | NODEV | NOEXEC, NULL));
    MUST(mount("sysfs", "sys", "sysfs", RDONLY | NOSUID | NODEV | NOEXEC, NULL));
    mount_cgroups();
    make_devices();
    hide();
    MUST(syscall(SYS_pivot_root, ".", "."));
    MUST(umount2(".", DETACH));
    struct mount_attr attributes = {.attr_set = MOUNT_ATTR_RDONLY};
    MUST(syscall(SYS_mount_setattr, AT_FDCWD, "/", 0, &attributes, sizeof attributes));
    MUST(sethostname("floor", 5));
    struct rlimit files = {1024, 1024};
    MUST(setrlimit(RLIMIT_NOFILE, &files));
    MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    if (docker) filter();
    drop_capabilities();
    static char *const arguments[] = {"/bin/true", NULL}, *const environment[] = {"PATH=/bin", NULL};
    execve(arguments[0], arguments, environment);
    err(1, "execve");
}

int main(int count, char **words) {
    if (count != 4) errx(2, "usage: floor min|docker ROOTFS NAME");
    docker = !strcmp(words[1], "docker");
    name = words[3];
    make_cgroups();
    struct clone_args args = {.flags = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET, .exit_signal = SIGCHLD};
    long child = syscall(SYS_clone3, &args, sizeof args);
    MUST(child);
    if (child == 0) contain(words[2]);
    int status;
    MUST(waitpid(child, &status, 0));
    for (size_t i = 0; i < COUNT(controllers); i++)
        MUST(rmdir(cgroup(controllers[i], "")));
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
