# Short names for what a contributor does. `just` alone lists them; none hides anything: every
# recipe is a line you can type.

# list the recipes
default:
    @just --list

# everything that must hold before a change is merged
ci:
    .ci/run

# all tests; `just test -1` leaves out the slow end-to-end part
test *arguments:
    ./runtests.sh {{arguments}}

# format the sources
fmt:
    cargo fmt

# the stripped static binary and its SHA-256, in dist/
dist:
    cargo build --release --locked
    mkdir -p dist
    target=$(rustc -vV | sed -n 's/^host: //p') && version=$(cargo pkgid | sed 's/.*[@#]//') \
        && name="raptor-$version-$target" \
        && install -m 0755 "target/$target/release/raptor" "dist/$name" \
        && cd dist && sha256sum "$name" > "$name.sha256" && cat "$name.sha256"

# measurements, each beside its floor: `just bench` runs all, `just bench startup` one
bench name="":
    cargo bench --locked {{ if name == "" { "" } else { "--bench " + name } }}

# the long runs of simulations: fleets from many seeds, and a thousand members for an hour
simulate seeds="100000":
    RAPTOR_SIM_SEEDS={{seeds}} cargo test --locked --profile simulation --test it -- \
        sim::the_fleet_comes_back_and_keeps_its_secrets_whatever_happens
    cargo bench --locked --profile simulation --bench members
