// The only program of the images in the stored data: it is their /bin/sh and does what a line of words says.
//
// It needs neither a C library nor any other file, so an image of it takes a few KB.
// Words are separated by blanks; a word `;` ends a command. The first command that fails ends the program.

#include <stddef.h>
#include <sys/syscall.h>

#ifndef __x86_64__
#error "the system calls below are those of x86-64"
#endif

enum { AT_FDCWD = -100, AT_REMOVEDIR = 0x200, O_WRONLY = 1, O_CREAT = 0100, O_TRUNC = 01000, S_IFIFO = 010000 };

static long call(long number, long a, long b, long c, long d, long e) {
    long answer;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    __asm__ volatile("syscall" : "=a"(answer) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8) : "rcx", "r11", "memory");
    return answer;
}

#define SYS(number, a, b, c, d, e) call(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e))

static size_t length(const char *text) {
    size_t count = 0;
    while (text[count]) count++;
    return count;
}

static int same(const char *one, const char *other) {
    while (*one && *one == *other) one++, other++;
    return *one == *other;
}

static long number(const char *text, int base) {
    long value = 0;
    while (*text >= '0' && *text < '0' + base) value = value * base + (*text++ - '0');
    return value;
}

static void say(int stream, const char *text) { SYS(SYS_write, stream, text, length(text), 0, 0); }

static _Noreturn void end(long status) {
    SYS(SYS_exit_group, status, 0, 0, 0, 0);
    __builtin_unreachable();
}

static long write_file(const char *path, const char *text) {
    long file = SYS(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, 0644, 0);
    if (file < 0) return file;
    say(file, text);
    say(file, "\n");
    return SYS(SYS_close, file, 0, 0, 0, 0);
}

static long cat(const char *path) {
    static char buffer[4096];
    long file = SYS(SYS_openat, AT_FDCWD, path, 0, 0, 0), count;
    if (file < 0) return file;
    while ((count = SYS(SYS_read, file, buffer, sizeof buffer, 0, 0)) > 0) SYS(SYS_write, 1, buffer, count, 0, 0);
    SYS(SYS_close, file, 0, 0, 0, 0);
    return count;
}

static long has(const char *path) {
    int there = SYS(SYS_faccessat, AT_FDCWD, path, 0, 0, 0) == 0;
    say(1, path);
    say(1, there ? " yes\n" : " no\n");
    return 0;
}

static long get_attribute(const char *path, const char *name) {
    static char value[256];
    long count = SYS(SYS_getxattr, path, name, value, sizeof value, 0);
    if (count < 0) return count;
    SYS(SYS_write, 1, value, count, 0, 0);
    say(1, "\n");
    return 0;
}

// The arguments of a command that has fewer are empty.
static long run(char **w) {
    if (same(w[0], "write")) return write_file(w[1], w[2]);
    if (same(w[0], "cat")) return cat(w[1]);
    if (same(w[0], "has")) return has(w[1]);
    if (same(w[0], "mkdir")) return SYS(SYS_mkdirat, AT_FDCWD, w[1], number(w[2], 8), 0, 0);
    if (same(w[0], "rm")) return SYS(SYS_unlinkat, AT_FDCWD, w[1], 0, 0, 0);
    if (same(w[0], "rmdir")) return SYS(SYS_unlinkat, AT_FDCWD, w[1], AT_REMOVEDIR, 0, 0);
    if (same(w[0], "chmod")) return SYS(SYS_fchmodat, AT_FDCWD, w[2], number(w[1], 8), 0, 0);
    if (same(w[0], "chown")) return SYS(SYS_fchownat, AT_FDCWD, w[3], number(w[1], 10), number(w[2], 10), 0);
    if (same(w[0], "link")) return SYS(SYS_linkat, AT_FDCWD, w[1], AT_FDCWD, w[2], 0);
    if (same(w[0], "symlink")) return SYS(SYS_symlinkat, w[1], AT_FDCWD, w[2], 0, 0);
    if (same(w[0], "rename")) return SYS(SYS_renameat2, AT_FDCWD, w[1], AT_FDCWD, w[2], 0);
    if (same(w[0], "fifo")) return SYS(SYS_mknodat, AT_FDCWD, w[1], S_IFIFO | 0600, 0, 0);
    if (same(w[0], "setattr")) return SYS(SYS_setxattr, w[1], w[2], w[3], length(w[3]), 0);
    if (same(w[0], "getattr")) return get_attribute(w[1], w[2]);
    if (same(w[0], "echo")) return say(1, w[1]), say(1, "\n"), 0;
    if (same(w[0], "warn")) return say(2, w[1]), say(2, "\n"), 0;
    if (same(w[0], "exit")) end(number(w[1], 10));
    if (same(w[0], "pause")) return SYS(SYS_ppoll, 0, 0, 0, 0, 0);
    return -38;
}

__attribute__((used)) static _Noreturn void begin(long *stack) {
    char **arguments = (char **)(stack + 1);
    if (stack[0] < 3 || !same(arguments[1], "-c")) end(2);
    char *at = arguments[2];
    while (*at) {
        char *words[5] = {"", "", "", "", ""};
        int count = 0, is_whole = 0;
        while (*at && !is_whole) {
            while (*at == ' ') at++;
            char *word = at;
            while (*at && *at != ' ') at++;
            if (*at) *at++ = 0;
            is_whole = same(word, ";");
            if (!is_whole && *word && count < 5) words[count++] = word;
        }
        if (count > 0 && run(words) < 0) {
            say(2, words[0]);
            say(2, ": failed\n");
            end(1);
        }
    }
    end(0);
}

__asm__(".globl _start\n_start:\n xor %ebp, %ebp\n mov %rsp, %rdi\n and $-16, %rsp\n call begin\n");
