package integrity

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// Each reason for doubt counts from the moment that there is one, also where there was
// none before, and until it is gone.
func TestEachDoubtCounts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "blob")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	i, err := volume.IDOf(oci.Sum([]byte("x")))
	if err != nil {
		t.Fatal(err)
	}
	var u Suspects
	want := func(step string, recorded, doubt bool) {
		t.Helper()
		for range 2 { // an answer changes nothing
			if got := u.Doubt(i, info, recorded); got != doubt {
				t.Errorf("%s: in doubt: %v, want %v", step, got, doubt)
			}
		}
	}
	want("a record", true, false)
	want("no record", false, true)
	u.Condemn(i)
	want("condemned", true, true)
	u.Absolve(i)
	want("absolved", true, false)
	u.mu.Lock()
	u.from, u.to = info.ModTime(), info.ModTime()
	u.changed()
	want("of the time in doubt", true, true)
	u.Trust(i)
	want("verified", true, false)
	u.set(time.Time{}, time.Time{})
	want("no time in doubt", true, false)
	u.Trust(i)
	want("verified, and not recorded", false, false)
	u.Forget(i)
	want("forgotten", false, true)
}
