// Package testenv is what tests of several packages ask of where they run: which seed,
// how long, and how much memory.
package testenv

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

// Seed returns PULLGATE_SEED, or a random number, and logs it.
func Seed(t testing.TB) uint64 {
	t.Helper()
	seed := rand.Uint64N(1 << 32)
	if text := os.Getenv("PULLGATE_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("PULLGATE_SEED: %v", err)
		}
	}
	t.Logf("PULLGATE_SEED=%d", seed)
	return seed
}

// Rounds returns how often a test does something: few times, or all if PULLGATE_LONG is
// set.
func Rounds(few, all int) int {
	if os.Getenv("PULLGATE_LONG") != "" {
		return all
	}
	return few
}
