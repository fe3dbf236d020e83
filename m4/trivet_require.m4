# SPDX-License-Identifier: Apache-2.0
# Libraries and programs that the build cannot do without. The missing ones are collected, so that
# one run of configure names them all with the Debian packages that bring them.

AC_DEFUN([TRIVET_REQUIRE_BEGIN], [
    AC_REQUIRE([PKG_PROG_PKG_CONFIG])
    trivet_missing=
    trivet_packages=
    AS_IF([test "x$PKG_CONFIG" = x],
        [AC_MSG_ERROR([pkg-config is missing (Debian: apt-get install pkg-config; scripts/bootstrap installs everything)])])
])

# TRIVET_REQUIRE_MODULE(PREFIX, PKG-CONFIG MODULE, DEBIAN PACKAGE)
AC_DEFUN([TRIVET_REQUIRE_MODULE], [
    PKG_CHECK_MODULES([$1], [$2], [],
        [trivet_missing="$trivet_missing
    library $2"
         trivet_packages="$trivet_packages $3"])
])

# TRIVET_REQUIRE_LIBRARY(PREFIX, LIBRARY, FUNCTION, HEADER, DEBIAN PACKAGE), for one without a .pc file
AC_DEFUN([TRIVET_REQUIRE_LIBRARY], [
    trivet_saved_libs=$LIBS
    trivet_found=no
    AC_CHECK_HEADER([$4], [AC_CHECK_LIB([$2], [$3], [trivet_found=yes])])
    LIBS=$trivet_saved_libs
    AS_IF([test $trivet_found = yes], [$1_LIBS=-l$2],
        [trivet_missing="$trivet_missing
    library $2"
         trivet_packages="$trivet_packages $5"])
    AC_SUBST([$1_LIBS])
])

# TRIVET_REQUIRE_PROGRAM(VARIABLE, PROGRAM, DEBIAN PACKAGE)
AC_DEFUN([TRIVET_REQUIRE_PROGRAM], [
    AC_ARG_VAR([$1], [path of $2])
    AC_PATH_PROG([$1], [$2])
    AS_IF([test "x$$1" = x],
        [trivet_missing="$trivet_missing
    program $2"
         trivet_packages="$trivet_packages $3"])
])

AC_DEFUN([TRIVET_REQUIRE_END], [
    AS_IF([test "x$trivet_missing" != x],
        [AC_MSG_ERROR([missing:$trivet_missing
  On Debian: apt-get install$trivet_packages
  (scripts/bootstrap installs everything that the build and the tests need)])])
])
