// Package volume is the directory of a store on its file system: the files below one root,
// the lock of it, the state that outlives a crash, the names of what belongs to a digest,
// and the account of the space. It knows nothing of what lies in the files.
package volume

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// layout is the version of the directory's layout.
const layout = 1

// What lies below the root.
const (
	VersionFile = "VERSION"
	MetaDir     = "meta"
	BlobsDir    = "blobs"
	IngestDir   = "ingest"

	lockFileName = "LOCK"
	stateName    = "state"
)

// SocketFile is the name of a socket that the server of a store may have in its
// directory, to be found there. The store leaves it alone.
const SocketFile = "admin.sock"

// HistoryFile is the name of what others have written about the use of the store.
const HistoryFile = "history.json.gz"

// SharedFile is the name of what others have written about a bucket that the store shares.
const SharedFile = "shared.json"

// Open opens the directory at path, makes it if there is none, and refuses
// one that holds anything that is not ours, or that others may write to.
func Open(path string, over func(Files) Files) (Files, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	opened, err := openFiles(path)
	if err != nil {
		return nil, err
	}
	if err := checkOwner(opened, os.Geteuid()); err != nil {
		opened.Close()
		return nil, err
	}
	var root Files = opened
	if over != nil {
		root = over(root)
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
func checkVersion(root Files) error {
	entries, err := root.ReadDir(".")
	if err != nil {
		return err
	}
	raw, err := root.ReadFile(VersionFile)
	if errors.Is(err, fs.ErrNotExist) {
		for _, e := range entries {
			switch e.Name() {
			case lockFileName, VersionFile + Temporary, SocketFile, "lost+found":
			default:
				return fmt.Errorf("directory holds %q and no %s: want an empty directory, or one of a store", e.Name(), VersionFile)
			}
		}
		return nil
	}
	if err != nil {
		return err
	}
	var v version
	if err := json.Unmarshal(raw, &v); err != nil {
		return fmt.Errorf("read %s: %w", VersionFile, err)
	}
	if v.Layout != layout {
		return fmt.Errorf("directory has layout %d, this program knows only layout %d: use the version that wrote it, or another directory",
			v.Layout, layout)
	}
	return nil
}

// MakeLayout makes what an empty directory lacks. The lock is held.
func MakeLayout(root Files) error {
	if _, err := root.Lstat(VersionFile); errors.Is(err, fs.ErrNotExist) {
		if err := WriteFile(root, VersionFile, version{Layout: layout}); err != nil {
			return err
		}
	}
	for _, dir := range []string{BlobsDir, IngestDir} {
		if err := root.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	return nil
}

// Temporary ends the name of a file that is being written.
const Temporary = ".tmp"

// WriteFile writes v as JSON, and replaces what was there only by all of it.
func WriteFile(root Files, name string, v any) error {
	return writeJSON(root, name, v, File.Datasync)
}

// WriteFileSoon is WriteFile for what may get to the disk later.
func WriteFileSoon(root Files, name string, v any) error {
	return writeJSON(root, name, v, func(File) error { return nil })
}

func writeJSON(root Files, name string, v any, settle func(File) error) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return replaceFile(root, name, append(raw, '\n'), settle)
}

// ReplaceFile writes a file as WriteFile does.
func ReplaceFile(root Files, name string, raw []byte) error {
	return replaceFile(root, name, raw, File.Datasync)
}

func replaceFile(root Files, name string, raw []byte, settle func(File) error) error {
	f, err := root.OpenFile(name+Temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.Write(raw); err == nil {
		err = settle(f)
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = root.Rename(name+Temporary, name)
	}
	if err != nil {
		// Nobody will read it, and what fails here is done at the next opening.
		_ = root.Remove(name + Temporary)
	}
	return err
}
