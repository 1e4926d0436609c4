#!/bin/sh
# Prints a bill of materials in the form of SPDX 2.3 (tag and value): plist, and the libraries that it is linked to, with the
# versions that pkg-config gives. Called by `make sbom`:
#
#   sbom.sh NAME VERSION MODULE…
#
# SOURCE_DATE_EPOCH, if set, is the time of the document, so that two builds give the same one.
set -eu
name=$1 version=$2
shift 2
: "${PKG_CONFIG:=pkg-config}"
created=$(date -u ${SOURCE_DATE_EPOCH:+-d "@$SOURCE_DATE_EPOCH"} +%Y-%m-%dT%H:%M:%SZ)

# package ID NAME VERSION LICENSE PURL
package() {
  printf '\nPackageName: %s\nSPDXID: SPDXRef-%s\nPackageVersion: %s\nPackageDownloadLocation: NOASSERTION\n' "$2" "$1" "$3"
  printf 'FilesAnalyzed: false\nPackageLicenseConcluded: NOASSERTION\nPackageLicenseDeclared: %s\nPackageCopyrightText: NOASSERTION\n' "$4"
  [ -z "$5" ] || printf 'ExternalRef: PACKAGE-MANAGER purl %s\n' "$5"
}

printf 'SPDXVersion: SPDX-2.3\nDataLicense: CC0-1.0\nSPDXID: SPDXRef-DOCUMENT\nDocumentName: %s-%s\n' "$name" "$version"
printf 'DocumentNamespace: urn:%s:sbom:%s:%s\n' "$name" "$version" "$created"
printf 'Creator: Tool: %s-sbom\nCreated: %s\n' "$name" "$created"
package plist "$name" "$version" NOASSERTION ''
printf 'Relationship: SPDXRef-DOCUMENT DESCRIBES SPDXRef-plist\n'
for module in "$@"; do
  id=$(printf %s "$module" | tr -c 'A-Za-z0-9.\n' '-')
  module_version=$("$PKG_CONFIG" --modversion "$module")
  package "$id" "$module" "$module_version" NOASSERTION "pkg:generic/$module@$module_version"
  printf 'Relationship: SPDXRef-plist DYNAMIC_LINK SPDXRef-%s\n' "$id"
done
