#!/bin/sh
# An object store for tests: object-store.sh FOLDER PORT
#
# It runs until no process has had a lock on FOLDER/users for some seconds. FOLDER/port has its port once it accepts
# requests. STRONGROOM_TEST_OBJECT_STORE names it: `moto` (the default), `seaweedfs`, `azurite`, `s3rver`
# or `s3s-fs`.
set -eu

folder=$1
port=$2
server=${STRONGROOM_TEST_OBJECT_STORE:-moto}
bin=${STRONGROOM_TEST_OBJECT_STORE_BIN:-$(dirname "$0")/../../../target/judges-venv/bin}

run() { setpriv --pdeathsig KILL -- "$@" >"$folder/log" 2>&1 & }

case $server in
moto) run "$bin/python" "$(dirname "$0")/moto_server.py" "$port" ;;
seaweedfs)
    mkdir -p "$folder/data"
    cat >"$folder/s3.json" <<END
{"identities": [{"name": "test", "credentials": [{"accessKey": "test", "secretKey": "hunter2hunter2"}],
  "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}
END
    run "$bin/weed" server -dir="$folder/data" -ip=127.0.0.1 -ip.bind=127.0.0.1 -filer -s3 -s3.port="$port" \
        -s3.config="$folder/s3.json" -master.port=$((port + 1)) -volume.port=$((port + 2)) -filer.port=$((port + 3)) \
        -master.volumeSizeLimitMB=256 -volume.max=100
    ;;
azurite) run "$bin/azurite-blob" --inMemoryPersistence --skipApiVersionCheck --blobHost 127.0.0.1 --blobPort "$port" ;;
s3rver)
    run "$bin/s3rver" --address 127.0.0.1 --port "$port" --directory "$folder/data" --no-vhost-buckets \
        --configure-bucket strongroom-test
    ;;
s3s-fs)
    mkdir -p "$folder/data/strongroom-test"
    run "$bin/s3s-fs" --host 127.0.0.1 --port "$port" --access-key test --secret-key hunter2hunter2 "$folder/data"
    ;;
*) echo "unknown object store $server" >"$folder/log"; exit 1 ;;
esac
pid=$!

tries=0
until curl --silent --output /dev/null --max-time 2 "http://127.0.0.1:$port/"; do
    tries=$((tries + 1))
    [ $tries -lt 300 ] && kill -0 $pid
    sleep 0.1
done
# The bucket of all tests, or the container; two servers begin with it.
if [ "$server" = azurite ]; then
    STRONGROOM_TEST_PORT=$port python3 - <<'END'
import base64, email.utils, hashlib, hmac, os, urllib.request

account = "devstoreaccount1"
key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
headers = {"x-ms-date": email.utils.formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
lines = ["PUT"] + [""] * 11 + [f"{name}:{value}" for name, value in headers.items()]
signed = "\n".join([*lines, f"/{account}/{account}/strongroom-test", "restype:container"])
signature = hmac.digest(base64.b64decode(key), signed.encode(), hashlib.sha256)
headers["Authorization"] = f"SharedKey {account}:{base64.b64encode(signature).decode()}"
url = f"http://127.0.0.1:{os.environ['STRONGROOM_TEST_PORT']}/{account}/strongroom-test?restype=container"
urllib.request.urlopen(urllib.request.Request(url, method="PUT", headers=headers), timeout=20)
END
elif [ "$server" != s3rver ] && [ "$server" != s3s-fs ]; then
    curl --silent --show-error --fail --max-time 20 --request PUT --aws-sigv4 aws:amz:us-east-1:s3 \
        --user test:hunter2hunter2 "http://127.0.0.1:$port/strongroom-test"
fi >>"$folder/log" 2>&1
echo "$port" >"$folder/port.new"
mv "$folder/port.new" "$folder/port"
while kill -0 $pid 2>/dev/null; do
    flock --exclusive "$folder/users" true
    sleep 5
    exec 9<"$folder/users"
    if flock --nonblock --exclusive 9; then
        rm -f "$folder/port"
        kill -KILL $pid
        rm -rf "$folder/data"
        exit 0
    fi
    exec 9<&-
done
rm -f "$folder/port"
