#!/bin/sh
# Prints the folder that holds `moto_server`, an EC2 that others wrote; installs it into a folder of its
# own unless it is there: it needs python3 with venv, and a package index of Python.
set -eu

if found=$(command -v moto_server); then
    dirname "$found"
    exit 0
fi
folder=${RAPTOR_TEST_DATA_FOLDER:-/var/lib/raptor-tests}/moto
if [ ! -x "$folder/bin/moto_server" ]; then
    rm -rf "$folder"
    mkdir -p "${folder%/*}"
    python3 -m venv "$folder" >&2
    "$folder/bin/pip" install --quiet 'moto[ec2,server]>=5,<6' >&2
fi
echo "$folder/bin"
