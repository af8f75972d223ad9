#!/bin/sh
# Makes the Debian packages of the program and the library: debs.sh PROGRAM LIBRARY WORK OUT
#
# LIBRARY is the folder of ffi/packaging/build.sh, WORK a new folder, OUT that of the packages. SOURCE_DATE_EPOCH is the
# time of all files. debhelper would need a source package; dpkg-deb and dpkg-shlibdeps do what is needed of it here.
set -eu
program=$(realpath "$1") library=$(realpath "$2") work=$(realpath -m "$3") out=$(realpath "$4")
cd "$(dirname "$0")/../.."
files=$PWD/tools/dist/debian
version=$(sed -n 's/^#define STRONGROOM_VERSION "\(.*\)"/\1/p' include/strongroom.h)
series=$(objdump -p "$library/libstrongroom.so" | sed -n 's/ *SONAME *libstrongroom\.so\.//p')
architecture=$(dpkg --print-architecture)
multiarch=$(dpkg-architecture --query DEB_HOST_MULTIARCH)
# For services with public certificates.
authorities="Recommends: ca-certificates"

# The libraries that the file $1 needs, as dependencies.
depends() {
    mkdir -p "$work/debian"
    echo 'Source: strongroom' >"$work/debian/control"
    (cd "$work" && dpkg-shlibdeps -O "$1" 2>"$work/messages" || { cat "$work/messages" >&2; exit 1; }) |
        sed -n 's/^shlibs:Depends=//p'
}

# Builds the package $1 of the files in $work/$1, with the fields of its dependencies in $2 and its section in $3. Its
# description comes from the standard input.
package() {
    root=$work/$1
    install -D -m 644 "$files/copyright" "$root/usr/share/doc/$1/copyright"
    gzip -9n <CHANGELOG.md | install -D -m 644 /dev/stdin "$root/usr/share/doc/$1/changelog.gz"
    mkdir -p "$root/DEBIAN"
    (cd "$root" && find etc usr -type f -print0 2>/dev/null | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
    {
        echo "Package: $1"
        echo "Source: strongroom"
        echo "Version: $version"
        echo "Architecture: $architecture"
        echo "Maintainer: The Strongroom developers"
        echo "Section: $3"
        echo "Priority: optional"
        # In KiB, as dpkg-gencontrol counts: each file by itself, and each other entry as one.
        find "$root" -path "$root/DEBIAN" -prune -o -printf '%y %s\n' |
            awk '{ size += $1 == "f" ? int(($2 + 1023) / 1024) : 1 } END { print "Installed-Size: " size }'
        printf '%s\n' "$2"
        cat
    } >"$root/DEBIAN/control"
    dpkg-deb --root-owner-group -Zxz --threads-max=1 --build "$root" "$out" >/dev/null
}

mkdir "$work"
root=$work/strongroom
install -D -m 755 "$program" "$root/usr/bin/strongroom"
install -d "$root/usr/share/man/man1"
"$program" man "$root/usr/share/man/man1"
gzip -9n "$root"/usr/share/man/man1/*
completions() { "$program" completions "$1" | install -D -m 644 /dev/stdin "$root/usr/share/$2"; }
completions bash bash-completion/completions/strongroom
completions zsh zsh/vendor-completions/_strongroom
completions fish fish/vendor_completions.d/strongroom.fish
for unit in deploy/systemd/*.service; do
    sed -e 's|/usr/local/bin/|/usr/bin/|' -e 's|docs/PRODUCTION.md|/usr/share/doc/strongroom/PRODUCTION.md|' "$unit" |
        install -D -m 644 /dev/stdin "$root/usr/lib/systemd/system/$(basename "$unit")"
done
for configuration in deploy/*.toml; do
    install -D -m 600 "$configuration" "$root/etc/strongroom/$(basename "$configuration")"
done
install -d "$root/usr/share/doc/strongroom/how-to"
install -m 644 docs/*.md docs/*.png "$root/usr/share/doc/strongroom"
install -m 644 docs/how-to/*.md "$root/usr/share/doc/strongroom/how-to"
# Links lead to the files beside the page.
sed -i 's|(\.\./deploy/|(deploy/|g' "$root"/usr/share/doc/strongroom/*.md
sed 's|(docs/|(|g' README.md | install -m 644 /dev/stdin "$root/usr/share/doc/strongroom/README.md"
(cd deploy && find . -type f -exec install -D -m 644 {} "$root/usr/share/doc/strongroom/deploy/{}" \;)
install -d "$root/DEBIAN"
install -m 755 "$files"/strongroom.* "$root/DEBIAN"
for script in "$root"/DEBIAN/strongroom.*; do mv "$script" "$root/DEBIAN/${script##*/strongroom.}"; done
(cd "$root" && find etc -type f | sort | sed 's|^|/|') >"$root/DEBIAN/conffiles"
package strongroom "Depends: $(depends "$program")
$authorities" utils <<'END'
Description: keep data encrypted under an id, in a file or by a service
 Strongroom keeps data under an id, encrypted, and hands back the only key that
 opens it. The database holds neither ids nor data in the clear, and no key.
 .
 This package has the program, which is also both services, with systemd units.
END

# Staged as a whole, then divided.
PREFIX=/usr LIBDIR=/usr/lib/$multiarch DESTDIR=$work/libstrongroom-dev ffi/packaging/install.sh "$library"
name=libstrongroom$series
from=$work/libstrongroom-dev/usr/lib/$multiarch
install -d "$work/$name/usr/lib/$multiarch" "$work/$name/DEBIAN"
mv "$from"/libstrongroom.so.* "$work/$name/usr/lib/$multiarch"
chmod 644 "$work/$name/usr/lib/$multiarch/libstrongroom.so.$version"
echo "libstrongroom $series $name (>= $version)" >"$work/$name/DEBIAN/shlibs"
echo "activate-noawait ldconfig" >"$work/$name/DEBIAN/triggers"
package "$name" "Multi-Arch: same
Depends: $(depends "$library/libstrongroom.so")
$authorities" libs <<'END'
Description: keep data encrypted under an id (shared library)
 Strongroom keeps data under an id, encrypted, and hands back the only key that
 opens it. The database holds neither ids nor data in the clear, and no key.
END
install -D -m 644 -t "$work/libstrongroom-dev/usr/share/doc/libstrongroom-dev/examples" ffi/examples/*
package libstrongroom-dev "Multi-Arch: same
Depends: $name (= $version), libc6-dev" libdevel <<'END'
Description: keep data encrypted under an id (development files)
 Strongroom keeps data under an id, encrypted, and hands back the only key that
 opens it. The database holds neither ids nor data in the clear, and no key.
 .
 This package has the headers for C and C++, the static library, and the files
 for pkg-config and CMake, and examples.
END
