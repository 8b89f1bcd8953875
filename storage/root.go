package storage

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
	lockFileName = "LOCK"
	versionFile  = "VERSION"
	metaDir      = "meta"
	blobsDir     = "blobs"
	ingestDir    = "ingest"

	stateFileName = "state"
)

// SocketFile is the name of a socket that the server of a store may have in its
// directory, to be found there. The store leaves it alone.
const SocketFile = "admin.sock"

// openRoot opens the directory at path, makes it if there is none, and refuses
// one that holds anything that is not ours, or that others may write to.
func openRoot(path string, over func(files) files) (files, error) {
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
	var root files = opened
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
func checkVersion(root files) error {
	entries, err := root.ReadDir(".")
	if err != nil {
		return err
	}
	raw, err := root.ReadFile(versionFile)
	if errors.Is(err, fs.ErrNotExist) {
		for _, e := range entries {
			switch e.Name() {
			case lockFileName, versionFile + temporary, SocketFile, "lost+found":
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
func makeLayout(root files) error {
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
func writeFile(root files, name string, v any) error {
	return replaceFile(root, name, v, file.datasync)
}

// writeFileSoon is writeFile for what may get to the disk later.
func writeFileSoon(root files, name string, v any) error {
	return replaceFile(root, name, v, func(file) error { return nil })
}

func replaceFile(root files, name string, v any, settle func(file) error) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	f, err := root.OpenFile(name+temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.Write(append(raw, '\n')); err == nil {
		err = settle(f)
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = root.Rename(name+temporary, name)
	}
	if err != nil {
		// Nobody will read it, and what fails here is done at the next opening.
		_ = root.Remove(name + temporary)
	}
	return err
}
