#!/bin/bash -eu
# Run ansible-test on the collection as it is in the checkout, committed or not.
#
# usage: tests/tools/ansible_test.sh sanity --venv --python 3.11
#
# ansible-test wants the collection in a folder called ansible_collections/govuk/env_sync, so the files are copied there,
# into a cache folder that later runs use again (ENV_SYNC_TEST_CACHE names another one). HOME is there too: what
# ansible-test keeps, its virtual environments above all, does not get into the user's own.

root=$(cd "$(dirname "$0")/../.." && pwd)
cache="${ENV_SYNC_TEST_CACHE:-$HOME/.cache/env_sync-tests}/sanity"
python=$(command -v "$root/.venv/bin/python" || command -v python3)
bin=$(dirname "$python")
tree="$cache/ansible_collections/govuk/env_sync"

mkdir -p "$cache/home"
exec 9>"$cache/lock"
flock 9

# Everything anew, but for tests/output, where ansible-test has its virtual environment for the next run.
mkdir -p "$tree"
find "$tree" -mindepth 1 ! -path "$tree/tests" ! -path "$tree/tests/output" ! -path "$tree/tests/output/*" -delete
cd "$root"
if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
  git ls-files -z --cached --others --exclude-standard --deduplicate
else
  find . \( -name .git -o -name .venv -o -name '.*cache' -o -name __pycache__ -o -path ./tests/output \) -prune \
    -o -name '*.tar.gz' -o -type f -print0
fi | while IFS= read -r -d '' file; do
  # git also lists what is deleted and not committed yet
  if [ -e "$file" ]; then printf '%s\0' "$file"; fi
done | tar --create --null --files-from - | tar --extract --directory "$tree"

if [ -z "${PIP_CONFIG_FILE:-}" ] && [ -e "$HOME/.config/pip/pip.conf" ]; then
  export PIP_CONFIG_FILE="$HOME/.config/pip/pip.conf"
fi
export HOME="$cache/home"

# ansible-test gets pip into its virtual environments with a script that it downloads from a host of its own, and keeps.
# Where that host is out of reach, and only there, a script takes its place that gets the same version of pip from the
# package index, by means of the pip that comes with Python.
packages=$("$python" -c 'import ansible_test; print(*ansible_test.__path__)')
version=$(sed -n "s/^ *pip='\([0-9.]*\)',$/\1/p" "$packages/_internal/python_requirements.py" | head -n 1)
stand_in="$HOME/.ansible/test/cache/get_pip_${version//./_}.py"
url="https://ci-files.testing.ansible.com/ansible-test/get-pip-$version.py"
reachable() {
  "$python" -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=10)' "$url" 2>/dev/null
}
if [ ! -e "$stand_in" ] && ! reachable; then
  echo "ansible-test: $url is out of reach, pip $version comes from the package index"
  mkdir -p "$(dirname "$stand_in")"
  cat >"$stand_in" <<'SCRIPT'
"""Stands in for get-pip, where it can't be downloaded: see tests/tools/ansible_test.sh in the collection."""
import subprocess
import sys

options = [option for option in sys.argv[1:] if option not in ("--no-setuptools", "--no-wheel")]
subprocess.check_call([sys.executable, "-m", "ensurepip"], stdout=subprocess.DEVNULL)
subprocess.check_call([sys.executable, "-m", "pip", "install", "--quiet", *options])
SCRIPT
fi

cd "$tree"
PATH="$bin:$PATH" exec "$python" "$bin/ansible-test" "$@" --color no
