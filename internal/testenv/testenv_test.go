package testenv

import (
	"os"
	"strings"
	"testing"
)

// Make has tests make their folders in memory where it has room, and programs be built on
// the disk.
func TestFoldersOfMake(t *testing.T) {
	if !strings.HasSuffix(os.Getenv("GOENV"), "/bin/go.env") {
		return // make does not run this
	}
	if dir := t.TempDir(); !strings.HasPrefix(dir, os.Getenv("TMPDIR")+"/") {
		t.Errorf("folders of tests lie in %s, and not in %s: GOTMPDIR is %q", dir, os.Getenv("TMPDIR"), os.Getenv("GOTMPDIR"))
	}
}

func TestSeedAndRounds(t *testing.T) {
	t.Setenv("PULLGATE_SEED", "18446744073709551615")
	if got := Seed(t); got != 1<<64-1 {
		t.Errorf("seed %d", got)
	}
	for long, want := range map[string]int{"": 1, "1": 2} {
		if t.Setenv("PULLGATE_LONG", long); Rounds(1, 2) != want {
			t.Errorf("PULLGATE_LONG=%s: want %d", long, want)
		}
	}
}

func TestPeakMemory(t *testing.T) {
	var held []byte
	peak := PeakMemory(t, func() {
		held = make([]byte, 64<<20)
		for i := range held {
			held[i] = 1
		}
	})
	if held[len(held)-1] != 1 || peak < 60<<20 || peak > 128<<20 {
		t.Errorf("%d MiB for 64", peak>>20)
	}
}
