# SPDX-License-Identifier: Apache-2.0
# Compiler and linker flags, each tried before it is used.

# TRIVET_TRY_CFLAG(FLAG, [VARIABLE = AM_CFLAGS], [PROGRAM]): append FLAG to VARIABLE when the compiler
# takes it without a warning.
AC_DEFUN([TRIVET_TRY_CFLAG], [
    AC_MSG_CHECKING([whether the compiler takes $1])
    trivet_saved_CFLAGS=$CFLAGS
    CFLAGS="$CFLAGS -Werror $AM_CFLAGS $1"
    AC_COMPILE_IFELSE([m4_default([$3], [AC_LANG_SOURCE([[int trivet_probe(void); int trivet_probe(void) { return 0; }]])])],
        [AC_MSG_RESULT([yes])
         m4_default([$2], [AM_CFLAGS])="$m4_default([$2], [AM_CFLAGS]) $1"],
        [AC_MSG_RESULT([no])])
    CFLAGS=$trivet_saved_CFLAGS
])

# TRIVET_TRY_LDFLAG(FLAG): append FLAG to AM_LDFLAGS when the linker takes it.
AC_DEFUN([TRIVET_TRY_LDFLAG], [
    AC_MSG_CHECKING([whether the linker takes $1])
    trivet_saved_LDFLAGS=$LDFLAGS
    trivet_saved_CFLAGS=$CFLAGS
    CFLAGS="$CFLAGS $AM_CFLAGS"
    LDFLAGS="$LDFLAGS $AM_LDFLAGS $1"
    AC_LINK_IFELSE([AC_LANG_PROGRAM([], [])],
        [AC_MSG_RESULT([yes])
         AM_LDFLAGS="$AM_LDFLAGS $1"],
        [AC_MSG_RESULT([no])])
    LDFLAGS=$trivet_saved_LDFLAGS
    CFLAGS=$trivet_saved_CFLAGS
])

# C17 with the GNU attributes that base uses.
AC_DEFUN([TRIVET_C17], [
    AM_CFLAGS="-std=gnu17"
    AC_MSG_CHECKING([for C17 with GNU extensions])
    trivet_saved_CFLAGS=$CFLAGS
    CFLAGS="$CFLAGS $AM_CFLAGS"
    AC_COMPILE_IFELSE([AC_LANG_SOURCE([[
        #if __STDC_VERSION__ < 201710L || !defined __GNUC__
        #error not C17 with GNU extensions
        #endif
        _Static_assert(sizeof(void *) == 8, "64 bit");
    ]])],
        [AC_MSG_RESULT([yes])],
        [AC_MSG_RESULT([no])
         AC_MSG_ERROR([Trivet needs a C17 compiler with GNU extensions (gcc 8 or clang 7 and later) for a 64-bit system])])
    CFLAGS=$trivet_saved_CFLAGS
])

AC_DEFUN([TRIVET_WARNINGS], [
    m4_foreach_w([flag],
        [-Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion -Wstrict-prototypes
         -Wmissing-prototypes -Wmissing-declarations -Wold-style-definition -Wpointer-arith -Wvla
         -Wformat=2 -Wundef -Wwrite-strings -Wlogical-op -Wduplicated-cond
         -Wimplicit-fallthrough=5 -Wdate-time -Wnested-externs],
        [TRIVET_TRY_CFLAG([flag])])
    AS_IF([test "x$enable_werror" != xno], [AM_CFLAGS="$AM_CFLAGS -Werror"])
])

# Counts are those of all processes and threads; who ends with _exit writes them first.
AC_DEFUN([TRIVET_COVERAGE], [
    TRIVET_TRY_CFLAG([--coverage])
    TRIVET_TRY_CFLAG([-fprofile-update=atomic])
    TRIVET_TRY_LDFLAG([--coverage])
    AM_CPPFLAGS="$AM_CPPFLAGS -DTRIVET_COVERAGE"
])

# TRIVET_SANITIZE(LIST)
AC_DEFUN([TRIVET_SANITIZE], [
    trivet_sanitize="-fsanitize=$1 -fno-sanitize-recover=all -fno-omit-frame-pointer"
    AC_MSG_CHECKING([for the sanitizers $1])
    trivet_saved_CFLAGS=$CFLAGS
    CFLAGS="$CFLAGS $trivet_sanitize"
    AC_LINK_IFELSE([AC_LANG_PROGRAM([], [])],
        [AC_MSG_RESULT([yes])],
        [AC_MSG_RESULT([no])
         AC_MSG_ERROR([the compiler cannot build with -fsanitize=$1])])
    CFLAGS=$trivet_saved_CFLAGS
    AM_CFLAGS="$AM_CFLAGS $trivet_sanitize"
    AM_LDFLAGS="$AM_LDFLAGS -fsanitize=$1"
])

# libFuzzer, with every line instrumented for it and for the sanitizers that tell it what is wrong.
# FUZZ_LDFLAGS are for the fuzzers, which get their main from there. Clang's pointer-overflow also
# finds NULL + 0, which every empty view does, every compiler takes, and the next C allows.
AC_DEFUN([TRIVET_FUZZING], [
    AS_IF([test "x$enable_sanitize" != xno],
        [AC_MSG_ERROR([--enable-fuzzing brings its own sanitizers: leave out --enable-sanitize])])
    trivet_sanitize="address,undefined"
    AC_MSG_CHECKING([for libFuzzer])
    trivet_saved_CFLAGS=$CFLAGS
    CFLAGS="$CFLAGS -fsanitize=fuzzer,$trivet_sanitize"
    AC_LINK_IFELSE([AC_LANG_SOURCE([[
        #include <stddef.h>
        #include <stdint.h>
        int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
        int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) { return data == NULL && size > 0; }
    ]])],
        [AC_MSG_RESULT([yes])],
        [AC_MSG_RESULT([no])
         AC_MSG_ERROR([--enable-fuzzing needs clang with libFuzzer (Debian: apt-get install clang-14 libclang-rt-14-dev; ./configure --enable-fuzzing CC=clang-14)])])
    CFLAGS=$trivet_saved_CFLAGS
    AM_CFLAGS="$AM_CFLAGS -fsanitize=fuzzer-no-link,$trivet_sanitize -fno-sanitize=pointer-overflow"
    AM_CFLAGS="$AM_CFLAGS -fno-sanitize-recover=all -fno-omit-frame-pointer"
    AM_LDFLAGS="$AM_LDFLAGS -fsanitize=$trivet_sanitize"
    AC_SUBST([FUZZ_LDFLAGS], ["-fsanitize=fuzzer,$trivet_sanitize"])
])

# _FORTIFY_SOURCE wants an optimising compiler, and hides from the sanitizers what it checks itself.
AC_DEFUN([TRIVET_HARDENING], [
    AS_IF([test "x$enable_sanitize" = xno],
        [TRIVET_TRY_CFLAG([-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3], [AM_CPPFLAGS],
            [AC_LANG_PROGRAM([[#include <string.h>
#if !defined __OPTIMIZE__
#error not optimised
#endif]], [])])])
    m4_foreach_w([flag],
        [-fstack-protector-strong -fstack-clash-protection -fcf-protection=full
         -fPIE],
        [TRIVET_TRY_CFLAG([flag])])
    m4_foreach_w([flag], [-pie -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack -Wl,--as-needed],
        [TRIVET_TRY_LDFLAG(m4_dquote(flag))])
])
