#!/bin/sh
# need_chromium.sh: succeeds when the browser tests will find a Chromium; installs Debian's when it may.
set -eu

if [ -n "${LRWIDGET_CHROMIUM:-}" ]; then
    command -v "$LRWIDGET_CHROMIUM" >/dev/null && exit 0
    echo "LRWIDGET_CHROMIUM is '$LRWIDGET_CHROMIUM', which is no program." >&2
    exit 1
fi
for name in chromium chromium-browser google-chrome; do
    command -v "$name" >/dev/null && exit 0
done

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "no Chromium on the PATH: installing Debian's"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends chromium
    exit 0
fi

cat >&2 <<'TEXT'
The browser tests need a Chromium, and none of chromium, chromium-browser, google-chrome is on the PATH.
Debian:  sudo apt-get install chromium
Or set LRWIDGET_CHROMIUM to the program. Without a browser, `make lint unit kernel notebooks` runs everything else.
TEXT
exit 1
