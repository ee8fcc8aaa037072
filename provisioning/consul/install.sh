set -eu
manager=$(package_manager)
has curl || packages_add "$manager" curl ca-certificates

# Debian 11 is the last that has a consul (1.8.7). Its archive is signed by keys that later releases
# hold, and nothing else is taken from there.
add_bullseye() {
    . /etc/os-release
    key=/usr/share/keyrings/debian-archive-keyring.gpg
    [ "$ID" = debian ] && [ -r "$key" ] || return 1
    apt-get -qq update
    mirror=$(apt-get indextargets --format '$(REPO_URI) $(ORIGIN) $(COMPONENT)' 'Created-By: Packages' |
        awk '$2 == "Debian" && $3 == "main" { print $1; exit }')
    [ -n "$mirror" ] || return 1
    printf 'Types: deb\nURIs: %s\nSuites: bullseye\nComponents: main\nSigned-By: %s\n' \
        "$mirror" "$key" >/etc/apt/sources.list.d/raptor-consul.sources
    printf 'Package: *\nPin: release n=bullseye\nPin-Priority: -1\n\n%s\n' \
        "$(printf 'Package: consul pipexec\nPin: release n=bullseye\nPin-Priority: 100')" \
        >/etc/apt/preferences.d/raptor-consul
    apt-get -qq update
}

if has consul; then
    :
elif [ -n "$url" ]; then
    if [ -z "$sha256" ]; then
        echo "the variable url needs sha256 beside it" >&2
        exit 1
    fi
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    curl --fail --silent --show-error --location --retry 3 --output "$folder/consul" "$url"
    echo "$sha256  $folder/consul" | sha256sum -c - >/dev/null
    case $url in
        *.zip)
            has unzip || packages_add "$manager" unzip
            mv "$folder/consul" "$folder/consul.zip"
            unzip -q -o "$folder/consul.zip" consul -d "$folder"
            ;;
    esac
    install -m 0755 "$folder/consul" /usr/local/bin/consul
elif [ "$manager" = apt-get ]; then
    if ! apt-get -qq install -y --no-install-recommends consul 2>/dev/null; then
        add_bullseye || true
        if ! apt-get -qq install -y --no-install-recommends consul; then
            echo "no package consul here: set the variables url and sha256" >&2
            exit 1
        fi
    fi
else
    if ! packages_add "$manager" consul; then
        echo "no package consul here: set the variables url and sha256" >&2
        exit 1
    fi
fi
if ! id consul >/dev/null 2>&1; then
    useradd --system --no-create-home --shell /usr/sbin/nologin consul 2>/dev/null ||
        adduser -S -D -H consul
fi
consul version
