# SPDX-License-Identifier: Apache-2.0
# For the integration tests: TAP lines, a fresh folder, a cluster on free ports. Source it from bash.
set -u
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export ETCDCTL_API=3
unset ETCDCTL_ENDPOINTS

test_count=0
failed_count=0

# ok NAME / not_ok NAME [DETAIL...]: one result.
ok() {
    test_count=$((test_count + 1))
    echo "ok $test_count - $1"
}

not_ok() {
    test_count=$((test_count + 1))
    failed_count=$((failed_count + 1))
    echo "not ok $test_count - $1"
    shift
    printf '%s\n' "$@" | sed 's/^/# /'
}

# skip NAME REASON: what this machine cannot tell.
skip() {
    test_count=$((test_count + 1))
    echo "ok $test_count - $1 # SKIP $2"
}

# comes NAME COMMAND...: what the command waits for has come.
comes() {
    local name=$1
    shift
    if "$@"; then
        ok "$name"
    else
        not_ok "$name" "it did not: $*"
    fi
}

# is NAME GOT WANT: equal texts.
is() {
    if [ "$2" = "$3" ]; then
        ok "$1"
    else
        not_ok "$1" "got:" "$2" "want:" "$3"
    fi
}

# like NAME GOT PATTERN: the text matches the extended regular expression.
like() {
    if [[ $2 =~ $3 ]]; then
        ok "$1"
    else
        not_ok "$1" "got:" "$2" "want a match of: $3"
    fi
}

# plan_end: close the TAP output; the script's exit status.
plan_end() {
    echo "1..$test_count"
    [ "$failed_count" = 0 ]
}

skip_all() {
    echo "1..0 # SKIP $*"
    exit 0
}

need_command() {
    command -v "$1" >/dev/null || skip_all "needs $1 (Debian: $2)"
}

folder=$(mktemp -d "${TMPDIR:-/tmp}/trivet-test.XXXXXX")
clean_up() {
    "$top/scripts/cluster" --dir "$folder/cluster" wipe >/dev/null 2>&1
    rm -rf "$folder"
}
trap clean_up EXIT
trap 'exit 1' INT TERM

# A port P such that nothing listens on the N ports from it on: below the kernel's own choices.
free_ports() {
    local try port i taken
    for try in $(seq 100); do
        port=$((10000 + RANDOM % 22000))
        taken=
        for i in $(seq 0 $(($1 - 1))); do
            (exec 3<>"/dev/tcp/127.0.0.1/$((port + i))") 2>/dev/null && taken=yes && break
        done
        [ -z "$taken" ] && echo "$port" && return
    done
    echo "no free ports" >&2
    return 1
}

# start_cluster N [-- FLAG...]: sets client_port and endpoints.
start_cluster() {
    client_port=$(free_ports $((2 * $1))) || exit 1
    endpoints=$(cluster start "$@") || { cat "$folder"/cluster/m*.log >&2 && exit 1; }
}

cluster() {
    "$top/scripts/cluster" --dir "$folder/cluster" --client-port "$client_port" --step 2 "$@"
}

endpoint_of() {
    echo "127.0.0.1:$((client_port + ($1 - 1) * 2))"
}

# hashes ENDPOINTS: how many members have which HashKV, "3 1234567": one line when it is one. Who does not answer is not counted.
hashes() {
    etcdctl --command-timeout=30s --dial-timeout=20s --endpoints="$1" endpoint hashkv 2>/dev/null |
        sed -n 's/^[^ ]*, \([0-9]*\)$/\1/p' | sort | uniq -c | sed 's/^ *//'
}

# A command has time: how long it may take on a busy machine is not what these tests are about.
ctl() {
    etcdctl --command-timeout=30s --dial-timeout=20s --endpoints="$endpoints" "$@" 2>&1
}

# wait_healthy ENDPOINT PID: until the server answers, a minute or two; or fail at once when the process has ended.
wait_healthy() {
    local end=$((SECONDS + 90))
    while [ $SECONDS -lt $end ] && kill -0 "$2" 2>/dev/null; do
        etcdctl --endpoints="$1" endpoint health >/dev/null 2>&1 && return
        sleep 0.1
    done
    return 1
}

# eventually NAME PATTERN COMMAND...: what the command prints matches, at last within a minute.
eventually() {
    local name=$1 pattern=$2 end=$((SECONDS + 60)) output
    shift 2
    while output=$("$@" 2>&1) && [[ ! $output =~ $pattern ]] || [ -z "$output" ]; do
        [ $SECONDS -lt $end ] || break
        sleep 0.1
    done
    like "$name" "$output" "$pattern"
}
