#!/bin/sh
# Makes a Debian machine a headless Taper server, from the folder of a binary archive: the program, its manual, completions, a driver where there
# is none, a user of its own, and, where systemd runs, the service. Run it as root; run again, it replaces what it has installed.
set -eu
here=$(dirname "$(readlink -f "$0")")
[ "$(id -u)" = 0 ] || { echo "install.sh: run it as root" >&2; exit 1; }
[ -x "$here/taper" ] || { echo "install.sh: there is no program beside it; unpack the whole archive" >&2; exit 1; }

# A GPU's own driver brings its Vulkan driver along; Mesa's covers the others, and processors.
export DEBIAN_FRONTEND=noninteractive
if ! dpkg-query -W -f '${Status}' libvulkan1 mesa-vulkan-drivers 2>/dev/null | grep -q 'ok installed.*ok installed'; then
  apt-get update -q
  apt-get install -y -q --no-install-recommends libvulkan1 mesa-vulkan-drivers
fi

install -D -m 755 "$here/taper" /usr/local/bin/taper
for page in "$here"/man/*.1; do install -D -m 644 "$page" "/usr/local/share/man/man1/${page##*/}"; done
install -D -m 644 "$here/completions/taper.bash" /usr/local/share/bash-completion/completions/taper
install -D -m 644 "$here/completions/_taper" /usr/local/share/zsh/site-functions/_taper
install -D -m 644 "$here/completions/taper.fish" /usr/local/share/fish/vendor_completions.d/taper.fish

# Devices of a GPU belong to these groups.
getent passwd taper >/dev/null || useradd --system --home-dir /var/lib/taper --shell /usr/sbin/nologin taper
for group in render video; do if getent group $group >/dev/null; then usermod -a -G $group taper; fi; done
install -d -o taper -g taper -m 750 /var/lib/taper

if [ -d /run/systemd/system ]; then
  install -D -m 644 "$here/taper.service" /etc/systemd/system/taper.service
  systemctl daemon-reload
  systemctl enable --now taper
  echo "Taper serves at http://127.0.0.1:7878/; \`journalctl -u taper\` has what it says"
else
  echo "there is no systemd here; start it by: taper serve --data-dir /var/lib/taper"
fi
