package dashboard

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// The page on the dashboard lists each option, and the directive takes none that it does not.
func TestDocsListOptions(t *testing.T) {
	raw, err := os.ReadFile("../../docs/dashboard.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rows, _ := strings.Cut(string(raw), "| `registry_mirror_dashboard` | meaning | default |\n|---|---|---|\n")
	rows, _, _ = strings.Cut(rows, "\n\n")
	var listed []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)").FindAllStringSubmatch(rows, -1) {
		listed = append(listed, row[1])
	}
	slices.Sort(listed)
	err = new(Dashboard).UnmarshalCaddyfile(caddyfile.NewTestDispenser("registry_mirror_dashboard {\nnonsense\n}"))
	if want := "want " + strings.Join(listed, " or "); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("the page has %q, and the directive says %v", want, err)
	}
}
