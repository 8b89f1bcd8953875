package testenv

import "testing"

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
