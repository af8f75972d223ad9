#!/bin/sh
# Installs the Debian packages in /packages, uses them and purges them. It runs inside a small Debian system.
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin
install="apt-get install --quiet --quiet --yes --no-install-recommends"
cd /packages
apt-get update --quiet --quiet
# APT reads packages as a user of its own.
chmod 755 . && chmod 644 ./*

$install ./strongroom_*.deb >/dev/null
dpkg --verify strongroom
[ "$(dpkg-query --show --showformat '${Recommends}' strongroom)" = ca-certificates ]
mkdir /home/user && chown nobody /home/user
cat >/home/user/test.sh <<'END'
set -eu
cd /home/user
echo "scanned pages" >passport
strongroom store --store records.db --id user:42:passport --key-out key passport
[ "$(strongroom retrieve --store records.db --id user:42:passport --key-file key)" = "scanned pages" ]
END
su -s /bin/sh nobody /home/user/test.sh
strongroom serve --config /etc/strongroom/strongroom.toml --print-config >/dev/null
for unit in strongroom strongroom-storage; do
    program=$(sed -n 's/^ExecStart=\([^ ]*\).*/\1/p' "/usr/lib/systemd/system/$unit.service")
    [ -x "$program" ]
    guide=$(sed -n '1s/.* \(\/[^ ]*\.md\) .*/\1/p' "/usr/lib/systemd/system/$unit.service")
    dpkg -L strongroom | grep -qxF "$guide"
done
for file in man/man1/strongroom-store.1.gz bash-completion/completions/strongroom doc/strongroom/README.md \
    doc/strongroom/deploy/monitoring/alerts.yaml doc/strongroom/deploy/cluster/compose.yaml; do
    dpkg -L strongroom | grep -qxF "/usr/share/$file"
done

# APT adds the headers of the system's C library.
$install ./libstrongroom*.deb gcc pkgconf >/dev/null
dpkg --verify libstrongroom-dev
cc /usr/share/doc/libstrongroom-dev/examples/first_use.c $(pkg-config --cflags --libs strongroom) -o /home/user/first-use
(cd /home/user && rm -f records.db* && [ "$(./first-use)" = "scanned pages" ])
ldd /home/user/first-use | grep -q "/libstrongroom"

# Nothing of the packages stays, but keys and stores do.
touch /etc/strongroom/index.key
packages=$(dpkg-query --show --showformat '${Package}\n' | grep strongroom)
[ "$(echo "$packages" | wc -l)" = 3 ]
for package in $packages; do dpkg -L "$package"; done | sort -u >installed
apt-get purge --quiet --quiet --yes $packages >/dev/null 2>&1
left=$(while read -r path; do if [ -f "$path" ]; then echo "$path"; fi; done <installed)
[ -z "$left" ] || { echo "left after the purge: $left"; exit 1; }
[ -e /etc/strongroom/index.key ]
! dpkg-query --show 'strongroom*' 'libstrongroom*' 2>/dev/null | grep .
