#!/usr/bin/env bash
# Makes the chains of certificates beside it: AMD's in shape, under a root of the tests'. The key of
# the chips is kept, so that tests can sign reports; those of the authorities are not.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
keys=$(mktemp -d)
trap 'rm -rf "$keys"' EXIT
pss=(-sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:48)

ca='basicConstraints=critical,CA:TRUE
keyUsage=critical,keyCertSign'
# $2 as DER, since `extn` holds a bare INTEGER of one byte
spl() { printf '1.3.6.1.4.1.3704.1.3.%s=DER:0201%s\n' "$1" "$2"; }
chip=$(printf 'c1%.0s' {1..64})

genoa="$(spl 1 03; spl 2 00; spl 3 08; spl 8 73)
1.3.6.1.4.1.3704.1.2=ASN1:IA5STRING:Genoa-B1
1.3.6.1.4.1.3704.1.4=DER:$chip"
turin="$(spl 1 03; spl 2 00; spl 3 08; spl 8 73; spl 9 02)
1.3.6.1.4.1.3704.1.2=ASN1:IA5STRING:Turin
1.3.6.1.4.1.3704.1.4=DER:${chip:0:16}"
vlek="$(spl 1 03; spl 2 00; spl 3 08; spl 8 73)
1.3.6.1.4.1.3704.1.2=ASN1:IA5STRING:Genoa
1.3.6.1.4.1.3704.1.5=ASN1:IA5STRING:a cloud"

# valid from before the times at which tests and machines look at them
openssl_ca() { # ARGUMENTS
    openssl ca -batch -notext -config "$keys/config" -startdate 20200101000000Z -enddate 21200101000000Z "$@"
}

certify() { # NAME SUBJECT KEY ISSUER ISSUER_KEY EXTENSIONS
    local issuer=(-selfsign -keyfile "$5")
    [[ -z $4 ]] || issuer=(-cert "$keys/$4.pem" -keyfile "$5")
    openssl req -new -key "$3" -subj "/O=K3s-DaaS tests/CN=$2" -out "$keys/request"
    printf '%s\n' "$6" > "$keys/extensions"
    openssl_ca -in "$keys/request" -out "$keys/$1.pem" -extfile "$keys/extensions" "${pss[@]}" "${issuer[@]}"
    openssl x509 -in "$keys/$1.pem" -outform der -out "$1.der"
}

cat > "$keys/config" <<CONFIG
[ca]
default_ca = tests
[tests]
database = $keys/index
new_certs_dir = $keys
serial = $keys/serial
default_md = sha384
policy = names
unique_subject = no
[names]
organizationName = supplied
commonName = supplied
CONFIG
touch "$keys/index"
echo 01 > "$keys/serial"
for key in ark ask asvk; do openssl genrsa -out "$keys/$key" 2048; done
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out "$keys/chip"
openssl pkcs8 -topk8 -nocrypt -in "$keys/chip" -outform der -out chip.pk8
certify ark ARK-Tests "$keys/ark" '' "$keys/ark" "$ca"
certify ask SEV-Tests "$keys/ask" ark "$keys/ark" "$ca"
certify asvk SEV-VLEK-Tests "$keys/asvk" ark "$keys/ark" "$ca"
certify genoa.vcek SEV-VCEK "$keys/chip" ask "$keys/ask" "$genoa"
certify turin.vcek SEV-VCEK "$keys/chip" ask "$keys/ask" "$turin"
certify genoa.vlek SEV-VLEK "$keys/chip" asvk "$keys/asvk" "$vlek"
# an authority by name and key, but none by its extensions
certify not-an-authority SEV-Tests "$keys/ask" ark "$keys/ark" 'basicConstraints=critical,CA:FALSE'
