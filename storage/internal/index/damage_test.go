package index

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

// What is not the fault of the index must not cost the
func TestDamaged(t *testing.T) {
	t.Parallel()
	for _, err := range []error{
		volume.ErrNoSpace, fmt.Errorf("mkdir: %w", syscall.EROFS), fs.ErrPermission, syscall.EACCES,
		errors.New("while opening memtables err: no space left on device"), volume.ErrLocked,
	} {
		if damaged(err) {
			t.Errorf("%v is taken for damage", err)
		}
	}
	if !damaged(errors.New("manifest has bad magic")) {
		t.Error("damage is not recognized")
	}
}
