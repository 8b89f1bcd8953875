//go:build unix

package storage

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A directory that others may write to is refused, with the command that cures it, and
// opened once that was run.
func TestDirectoryOfOthersIsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		mode  os.FileMode
		cured bool
	}{
		"owner only": {0o700, true}, "read by others": {0o755, true}, "systemd": {0o750, true},
		"group": {0o770, false}, "everybody": {0o777, false}, "sticky": {0o777 | os.ModeSticky, false},
		"setgid": {0o775 | os.ModeSetgid, false}, "world": {0o702, false},
	} {
		for _, used := range []bool{false, true} {
			dir := filepath.Join(t.TempDir(), "a 'store'")
			if used {
				s := openTest(t, Options{Path: dir})
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			} else if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(dir, c.mode); err != nil {
				t.Fatal(err)
			}
			s, err := Open(t.Context(), Options{Path: dir, Quiet: true})
			if err == nil {
				s.Close()
			}
			if (err == nil) != c.cured {
				t.Errorf("%s, used %v: %v", name, used, err)
			}
			if err == nil {
				continue
			}
			if want := `chmod go-w '` + strings.ReplaceAll(dir, "'", `'\''`) + `'`; !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %s", name, err, want)
			}
			if entries, _ := os.ReadDir(dir); !used && len(entries) != 0 {
				t.Errorf("%s: it was written to: %v", name, entries)
			}
			if err := os.Chmod(dir, c.mode&^0o022); err != nil {
				t.Fatal(err)
			}
			openTest(t, Options{Path: dir, Quiet: true})
		}
	}
}
