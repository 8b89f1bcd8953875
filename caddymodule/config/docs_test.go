package config

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The page on configuration lists every option, and none that there is not.
func TestDocsListOptions(t *testing.T) {
	raw, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	_, page, _ := strings.Cut(string(raw), "\n## Storage\n")
	shared, upstream, found := strings.Cut(page, "\n## The directive\n")
	storage, shared, _ := strings.Cut(shared, "\n## Fleet\n")
	if !found {
		t.Fatal("the page has not the sections that it had")
	}
	_, upstream, _ = strings.Cut(upstream, "\n## Where an upstream is\n")
	upstream, _, _ = strings.Cut(upstream, "\n## JSON\n")
	for section, want := range map[string][]string{
		storage: slices.Sorted(maps.Keys(storageOptions)), shared: slices.Sorted(maps.Keys(fleetOptions)), upstream: slices.Sorted(maps.Keys(upstreamOptions)),
	} {
		var listed []string
		for line := range strings.Lines(section) {
			cell, _, _ := strings.Cut(strings.TrimPrefix(line, "| "), " | ")
			for _, name := range regexp.MustCompile("`([a-z_]+)[^`]*`").FindAllStringSubmatch(cell, -1) {
				if strings.HasPrefix(line, "| `") {
					listed = append(listed, name[1])
				}
			}
		}
		slices.Sort(listed)
		if listed = slices.Compact(listed); !slices.Equal(listed, want) {
			t.Errorf("the page lists\n%v, and there are\n%v", listed, want)
		}
	}
}

// What is written of the arguments says how many there may be.
func TestArgumentsOfOptions(t *testing.T) {
	for usage, want := range map[string][2]int{"": {0, 0}, "<size>": {1, 1}, "[on|off]": {0, 1}, "<cert> <key>": {2, 2}, "<n>|off [<size>]": {1, 2}} {
		least, most := option[Upstream]{usage: usage}.arguments()
		if least != want[0] || most != want[1] {
			t.Errorf("%q: %d to %d, want %v", usage, least, most, want)
		}
	}
	if least, most := upstreamOptions["alias"].arguments(); least != 1 || most < 1000 {
		t.Errorf("aliases: %d to %d", least, most)
	}
}
