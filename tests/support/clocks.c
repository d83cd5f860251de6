/* The clocks of one process, as a test sets them: the wall clock, whether the kernel says that it is kept, the boot-time clock, and a
   rate at which all of them run. Preloaded.
   The file named by BENCHLIGHT_TEST_CLOCKS holds five 64-bit numbers:
     0  seconds to add to the wall clock
     1  1 synchronised, 0 not, -1 as the kernel says
     2  seconds to add to the boot-time clock, as after a sleep
     3  how many times as fast all clocks run
     4  the true monotonic clock, in nanoseconds, at which they began to
   BENCHLIGHT_TEST_BOOT_ID names a file that is read in the place of the kernel's boot id.
   On x86-64 the kernel's own page for reading clocks (vdso) is patched, because some programs call it directly; elsewhere such a program
   reads the true boot-time clock. Times to wait are divided by the rate. */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL
#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif

static const volatile int64_t none[5] = {0, -1, 0, 1, 0};
static const volatile int64_t *set = none;

#ifdef __x86_64__
/* Past the functions below, and past the C library's. */
static long kernel(long call, long a, long b, long c, long d, long e, long f) {
    register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(call), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
    return result;
}
#else
static long kernel(long call, long a, long b, long c, long d, long e, long f) {
    long result = syscall(call, a, b, c, d, e, f);
    return result < 0 ? -errno : result;
}
#endif

static long told(long result) {
    if (result >= 0) return result;
    errno = (int)-result;
    return -1;
}

static int64_t nanos(const struct timespec *time) { return time->tv_sec * SECOND + time->tv_nsec; }

static struct timespec of(int64_t nanos) {
    if (nanos < 0) nanos = 0;
    return (struct timespec){nanos / SECOND, nanos % SECOND};
}

static int64_t true_time(clockid_t clock) {
    struct timespec time = {0, 0};
    kernel(SYS_clock_gettime, clock, (long)&time, 0, 0, 0, 0);
    return nanos(&time);
}

static int shown(clockid_t clock, struct timespec *time) {
    long result = kernel(SYS_clock_gettime, clock, (long)time, 0, 0, 0, 0);
    int64_t add = 0;
    switch (clock) {
    case CLOCK_REALTIME: case CLOCK_REALTIME_COARSE: add = set[0] * SECOND; break;
    case CLOCK_BOOTTIME: add = set[2] * SECOND; break;
    case CLOCK_MONOTONIC: case CLOCK_MONOTONIC_COARSE: case CLOCK_MONOTONIC_RAW: break;
    default: return (int)result;
    }
    if (set[3] > 1) add += (true_time(CLOCK_MONOTONIC) - set[4]) * (set[3] - 1);
    if (result == 0) *time = of(nanos(time) + add);
    return (int)result;
}

int clock_gettime(clockid_t clock, struct timespec *time) { return (int)told(shown(clock, time)); }

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
    struct timespec now;
    (void)zone;
    shown(CLOCK_REALTIME, &now);
    *time = (struct timeval){now.tv_sec, now.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *place) {
    struct timespec now;
    shown(CLOCK_REALTIME, &now);
    if (place) *place = now.tv_sec;
    return now.tv_sec;
}

int adjtimex(struct timex *timex) {
    int result = (int)told(kernel(SYS_adjtimex, (long)timex, 0, 0, 0, 0, 0));
    if (set[1] >= 0) timex->maxerror = set[1] ? 1000 : 16000000;
    return result;
}

/* A time to wait, as long as it takes; a moment as it is on the true clock. */
static int64_t waited(int64_t time) { return set[3] > 1 ? (time + set[3] - 1) / set[3] : time; }

static struct timespec moment(clockid_t clock, const struct timespec *until) {
    struct timespec now;
    shown(clock, &now);
    return of(true_time(clock) + waited(nanos(until) - nanos(&now)));
}

/* Milliseconds to wait; NULL: for ever. */
static struct timespec *in_ms(int timeout, struct timespec *time) {
    *time = of(waited(timeout * 1000000LL));
    return timeout < 0 ? NULL : time;
}

int poll(struct pollfd *files, nfds_t count, int timeout) {
    struct timespec time;
    return (int)told(kernel(SYS_ppoll, (long)files, (long)count, (long)in_ms(timeout, &time), 0, 0, 0));
}

int epoll_wait(int file, struct epoll_event *events, int most, int timeout) {
    struct timespec time;
    return (int)told(kernel(SYS_epoll_pwait2, file, (long)events, most, (long)in_ms(timeout, &time), 0, 8));
}

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *time, struct timespec *rest) {
    struct timespec true_one = flags & TIMER_ABSTIME ? moment(clock, time) : of(waited(nanos(time)));
    return (int)-kernel(SYS_clock_nanosleep, clock, flags, (long)&true_one, (long)rest, 0, 0);
}

int nanosleep(const struct timespec *time, struct timespec *rest) {
    int error = clock_nanosleep(CLOCK_MONOTONIC, 0, time, rest);
    return (int)told(-error);
}

int usleep(useconds_t micros) {
    struct timespec time = of(micros * 1000LL);
    return nanosleep(&time, NULL);
}

#ifdef __x86_64__
/* Rust's standard library waits by it. */
long syscall(long call, ...) {
    long a[6];
    va_list list;
    va_start(list, call);
    for (int nth = 0; nth < 6; nth++) a[nth] = va_arg(list, long);
    va_end(list);
    struct timespec time;
    if (call == SYS_futex && a[3] && set[3] > 1) {
        int what = (int)a[1] & FUTEX_CMD_MASK;
        const struct timespec *told_time = (const struct timespec *)a[3];
        if (what == FUTEX_WAIT_BITSET) {
            time = moment(a[1] & FUTEX_CLOCK_REALTIME ? CLOCK_REALTIME : CLOCK_MONOTONIC, told_time);
            a[3] = (long)&time;
        } else if (what == FUTEX_WAIT) {
            time = of(waited(nanos(told_time)));
            a[3] = (long)&time;
        }
    }
    return told(kernel(call, a[0], a[1], a[2], a[3], a[4], a[5]));
}

/* Leads whoever calls the kernel's page to `shown`. */
static void patch(void) {
    const char *page = (const char *)getauxval(AT_SYSINFO_EHDR), *names = NULL;
    if (!page) return;
    const Elf64_Ehdr *head = (const void *)page;
    const Elf64_Phdr *parts = (const void *)(page + head->e_phoff);
    const Elf64_Sym *symbols = NULL;
    for (int nth = 0; nth < head->e_phnum; nth++) {
        if (parts[nth].p_type != PT_DYNAMIC) continue;
        for (const Elf64_Dyn *entry = (const void *)(page + parts[nth].p_offset); entry->d_tag != DT_NULL; entry++) {
            if (entry->d_tag == DT_SYMTAB) symbols = (const void *)(page + entry->d_un.d_ptr);
            if (entry->d_tag == DT_STRTAB) names = page + entry->d_un.d_ptr;
        }
    }
    /* The names follow the symbols. */
    for (const Elf64_Sym *symbol = symbols; symbol && (const char *)(symbol + 1) <= names; symbol++) {
        if (strcmp(names + symbol->st_name, "__vdso_clock_gettime")) continue;
        unsigned char jump[12] = {0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xe0};
        int (*target)(clockid_t, struct timespec *) = shown;
        memcpy(jump + 2, &target, 8);
        /* It can only be unlocked as a whole. */
        for (size_t size = 4096; size <= 65536; size += 4096) {
            if (mprotect((void *)page, size, PROT_READ | PROT_WRITE | PROT_EXEC)) continue;
            memcpy((char *)page + symbol->st_value, jump, sizeof jump);
            mprotect((void *)page, size, PROT_READ | PROT_EXEC);
            return;
        }
    }
    abort();
}

int open64(const char *path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    long mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(list, int) : 0;
    va_end(list);
    const char *id = getenv("BENCHLIGHT_TEST_BOOT_ID");
    if (id && !strcmp(path, "/proc/sys/kernel/random/boot_id")) path = id;
    return (int)told(kernel(SYS_openat, AT_FDCWD, (long)path, flags, mode, 0, 0));
}
#else
static void patch(void) {}
#endif

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("BENCHLIGHT_TEST_CLOCKS");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *map = mmap(NULL, sizeof none, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (map == MAP_FAILED) return;
    set = map;
    patch();
}
