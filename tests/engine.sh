#!/usr/bin/env bash
# A Docker engine of our own for the tests that need one: apart from any other on this machine,
# with an image laid out like NGC's Triton, and the project's Dockerfile built on it. Needs root.
#
#   eval "$(tests/engine.sh up)"    start it, once; sets DOCKER_HOST
#   pytest -m docker
#   tests/engine.sh down            stop it and remove all of it
#
# No registry of images is needed: the base is a Debian 12 with the server of the wheel
# nvidia-pytriton. PYTHON names the environment that has it (.venv/bin/python).
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
root=${TUNER_ENGINE:-/var/tmp/tuner-engine}
python=${PYTHON:-$here/.venv/bin/python}
base=tuner-test-base
sdk=tuner-test-sdk
export DOCKER_HOST=unix://$root/docker.sock

say() { echo "$*" >&2; }

install_programs() {
  local missing=()
  command -v dockerd >/dev/null || missing+=(docker.io)
  command -v debootstrap >/dev/null || missing+=(debootstrap)
  if ((${#missing[@]})); then
    say "installing ${missing[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
      "${missing[@]}" >/dev/null
  fi
}

answers() { docker version >/dev/null 2>&1; }

start_engine() {
  answers && return
  mkdir -p "$root"
  # Neither a bridge nor rules of a firewall: nothing of this machine's network changes.
  setsid dockerd --data-root "$root/data" --exec-root "$root/exec" --pidfile "$root/pid" \
    --host "$DOCKER_HOST" --iptables=false --bridge=none >"$root/dockerd.log" 2>&1 </dev/null &
  for _ in $(seq 100); do
    answers && return
    sleep 0.2
  done
  tail -5 "$root/dockerd.log" >&2
  say "the Docker engine does not start; its log is $root/dockerd.log"
  exit 1
}

has_image() { docker image inspect "$1" >/dev/null 2>&1; }

# /opt/tritonserver as NGC has it, and a pip that finds its wheels without a network.
make_base() {
  has_image "$base" && return
  say "making the image $base"
  local files=$root/files
  rm -rf "$files"
  debootstrap --variant=minbase --include=python3,python3-pip,libpython3.11 bookworm "$files" \
    >"$root/debootstrap.log"
  local site triton=$files/opt/tritonserver
  site=$("$python" -c 'import importlib.util as u; print(u.find_spec("pytriton").submodule_search_locations[0])')
  mkdir -p "$triton/bin" "$triton/backends/python" "$files/srv/packages"
  cp "$site/tritonserver/bin/tritonserver" "$triton/bin/"
  cp "$site"/tritonserver/backends/python/{libtriton_python.so,triton_python_backend_utils.py} \
    "$site/tritonserver/python_backend_stubs/3.11/triton_python_backend_stub" "$triton/backends/python/"
  cp -r "$site/../nvidia_pytriton.libs" "$triton/lib"
  ln -s /opt/tritonserver/lib "$files/nvidia_pytriton.libs"  # where the wheel's programs look
  "$python" -m pip download -qq --dest "$files/srv/packages" --only-binary=:all: \
    --python-version 3.11 --constraint "$here/constraints.txt" torch transformers numpy
  printf '[global]\nno-index = true\nfind-links = /srv/packages\n' >"$files/etc/pip.conf"
  tar -C "$files" -c . | docker import \
    --change 'ENV PATH=/opt/tritonserver/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
    --change 'ENV TRITON_SERVER_VERSION=2.51.0' - "$base" >/dev/null
  rm -rf "$files"
}

# As NGC's image of clients: perf_analyzer on the PATH, and an entry point that gets in the way.
make_sdk() {
  has_image "$sdk" && return
  say "making the image $sdk"
  local program libraries made
  program=$("$python" -c 'import importlib.metadata as m; print(next(f.locate().resolve() for f in m.files("tritonclient") if f.match("bin/perf_analyzer")))')
  libraries=$("$python" -c 'import importlib.util as u; print(u.find_spec("pytriton").submodule_search_locations[0])')/../nvidia_pytriton.libs
  made=$(docker create --network none "$base" true)
  docker cp "$program" "$made:/usr/local/bin/perf_analyzer"
  docker cp "$libraries"/libb64-*.so.0d "$made:/usr/local/lib/libb64.so.0d"
  docker cp "$libraries"/libcudart-*.so.12* "$made:/usr/local/lib/libcudart.so.12"
  docker commit --change 'ENV LD_LIBRARY_PATH=/usr/local/lib' --change 'ENTRYPOINT ["false"]' \
    "$made" "$sdk" >/dev/null
  docker rm "$made" >/dev/null
}

# By the code that `tune` itself uses where the image is missing.
make_image() {
  "$python" - "$base" >&2 <<'PYTHON'
import sys
from pathlib import Path
from tuner.servers.docker import DockerServer

server = DockerServer(study=Path("."), build_args={"BASE_IMAGE": sys.argv[1]}, say=print)
print(server.describe())
PYTHON
}

case ${1-} in
  up)
    install_programs
    start_engine
    make_base
    make_sdk
    make_image
    echo "export DOCKER_HOST=$DOCKER_HOST"
    ;;
  down)
    if [[ -f $root/pid ]]; then
      pid=$(<"$root/pid")
      kill "$pid"
      tail --pid="$pid" -f /dev/null
    fi
    # It leaves its own namespace of networks mounted.
    awk -v root="$root/" 'index($2, root) == 1 {print $2}' /proc/mounts | tac | xargs -r umount
    rm -rf "$root"
    ;;
  *)
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2
    exit 2
    ;;
esac
