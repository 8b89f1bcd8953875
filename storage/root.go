package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"
)

// layout is the version of the directory's layout.
const layout = 1

// What lies below the root.
const (
	lockFileName = "LOCK"
	versionFile  = "VERSION"
	metaDir      = "meta"
	blobsDir     = "blobs"
	ingestDir    = "ingest"

	stateFileName = "state"
)

// ErrLocked means that another store, of this process or another, has the
// directory open.
var ErrLocked = errors.New("storage is locked")

var errHeld = errors.New("lock is held")

// lockRetry is how often a held lock is tried again. The usual holder is an
// earlier store of this process that is closing: 2 to 200 ms.
const lockRetry = 20 * time.Millisecond

// openRoot opens the directory at path, makes it if there is none, and refuses
// one that holds anything that is not ours.
func openRoot(path string) (*os.Root, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	if err := checkVersion(root); err != nil {
		root.Close()
		return nil, err
	}
	return root, nil
}

// version is the content of the file VERSION.
type version struct {
	Layout int `json:"layout"`
}

// checkVersion needs no lock: VERSION is written before anything else is.
func checkVersion(root *os.Root) error {
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return err
	}
	raw, err := root.ReadFile(versionFile)
	if errors.Is(err, fs.ErrNotExist) {
		for _, e := range entries {
			switch e.Name() {
			case lockFileName, versionFile + temporary, "lost+found":
			default:
				return fmt.Errorf("directory holds %q and no %s: want an empty directory, or one of a store", e.Name(), versionFile)
			}
		}
		return nil
	}
	if err != nil {
		return err
	}
	var v version
	if err := json.Unmarshal(raw, &v); err != nil {
		return fmt.Errorf("read %s: %w", versionFile, err)
	}
	if v.Layout != layout {
		return fmt.Errorf("directory has layout %d, this program knows only layout %d: use the version that wrote it, or another directory",
			v.Layout, layout)
	}
	return nil
}

// makeLayout makes what an empty directory lacks. The lock is held.
func makeLayout(root *os.Root) error {
	if _, err := root.Lstat(versionFile); errors.Is(err, fs.ErrNotExist) {
		if err := writeFile(root, versionFile, version{Layout: layout}); err != nil {
			return err
		}
	}
	for _, dir := range []string{blobsDir, ingestDir} {
		if err := root.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	return nil
}

// temporary ends the name of a file that is being written.
const temporary = ".tmp"

// writeFile writes v as JSON, and replaces what was there only by all of it.
func writeFile(root *os.Root, name string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	f, err := root.OpenFile(name+temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.Write(append(raw, '\n')); err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return root.Rename(name+temporary, name)
}

// lockRoot takes the lock of the directory, and waits for it as long as wait.
// The lock goes when the file is closed.
func lockRoot(ctx context.Context, root *os.Root, wait time.Duration) (*os.File, error) {
	f, err := root.OpenFile(lockFileName, os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, syscall.EROFS) {
		f, err = root.Open(lockFileName)
	}
	if err != nil {
		return nil, err
	}
	timeout := time.NewTimer(wait)
	defer timeout.Stop()
	for {
		err := lockFile(f)
		if err == nil {
			break
		}
		if !errors.Is(err, errHeld) {
			f.Close()
			return nil, fmt.Errorf("lock: %w", err)
		}
		select {
		case <-time.After(lockRetry):
			continue
		case <-timeout.C:
			err = heldBy(root)
		case <-ctx.Done():
			err = fmt.Errorf("%w: %w", heldBy(root), ctx.Err())
		}
		f.Close()
		return nil, err
	}
	// The number is only a courtesy to who finds the directory locked.
	_ = writePID(f)
	return f, nil
}

func writePID(f *os.File) error {
	// Always as long, and in place: a full disk has nothing to refuse.
	_, err := fmt.Fprintf(f, "%-10d\n", os.Getpid())
	return err
}

func heldBy(root *os.Root) error {
	holder := "another process"
	if raw, err := root.ReadFile(lockFileName); err == nil && len(raw) > 0 {
		holder = "process " + strings.TrimSpace(string(raw))
	}
	return fmt.Errorf("%w by %s: stop that one or give each a directory of its own; "+
		"to change a running server's configuration, reload it", ErrLocked, holder)
}
