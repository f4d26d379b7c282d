#!/usr/bin/env bash
# Known vulnerabilities and licences of what is installed in .venv. The tools live apart, so that they are not audited as ours.
# Where the index or the vulnerability service cannot be reached it says so and succeeds: a network is no finding.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

TOOLS=.state/audit
# Licences that would bind who runs or changes AnomalyLLM. LGPL is not among them: nothing is linked statically.
REFUSED='GPLv2;GPLv3;GNU General Public License v2 (GPLv2);GNU General Public License v3 (GPLv3);GNU General Public License v3 or later (GPLv3+);GNU Affero General Public License v3;GNU Affero General Public License v3 or later (AGPLv3+);AGPL-3.0;GPL-3.0;GPL-2.0;SSPL;BUSL-1.1'

if [[ ! -x $TOOLS/bin/pip-audit ]]; then
    python3 -m venv "$TOOLS"
    if ! "$TOOLS/bin/pip" install -q pip-audit==2.10.1 pip-licenses==5.5.5; then
        rm -rf "$TOOLS"
        echo "audit skipped: the package index does not give its tools" >&2
        exit 0
    fi
fi

status=0
echo "licences: refused are $REFUSED"
"$TOOLS/bin/pip-licenses" --python "${PYTHON:-.venv/bin/python}" --from=mixed --fail-on="$REFUSED" --order=license >"$TOOLS/licences.txt" || status=1
tail -n 3 "$TOOLS/licences.txt"

site=$("${PYTHON:-.venv/bin/python}" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
out=$TOOLS/vulnerabilities.txt
if "$TOOLS/bin/pip-audit" --path "$site" --progress-spinner off --timeout 15 >"$out" 2>&1; then
    echo "no known vulnerability"
elif grep -qE 'ConnectionError|ServiceError|Max retries|Timeout|HTTPError|Connection' "$out" && ! grep -q '^Found' "$out"; then
    echo "vulnerabilities not checked: the service cannot be reached ($(grep -vE '^$' "$out" | tail -n 1 | cut -c1-120))" >&2
else
    cat "$out"
    status=1
fi
exit "$status"
