package config

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The README shows every option, and none that there is not.
func TestReadmeShowsOptions(t *testing.T) {
	raw, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, syntax, _ := strings.Cut(string(raw), "```caddyfile\n{\n\tregistry_mirror {\n\t\tstorage <path> {\n")
	syntax, _, found := strings.Cut(syntax, "```")
	if !found {
		t.Fatal("the README has no syntax of the Caddyfile")
	}
	storage, upstream, _ := strings.Cut(syntax, "\tupstream <name> {\n")
	for block, want := range map[string][]string{
		storage: slices.Sorted(maps.Keys(storageOptions)), upstream: slices.Sorted(maps.Keys(upstreamOptions)),
	} {
		var shown []string
		for _, line := range regexp.MustCompile(`(?m)^\t\t\t?(\w+)`).FindAllStringSubmatch(block, -1) {
			shown = append(shown, line[1])
		}
		slices.Sort(shown)
		if shown = slices.Compact(shown); !slices.Equal(shown, want) {
			t.Errorf("the README shows\n%v, and there are\n%v", shown, want)
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
