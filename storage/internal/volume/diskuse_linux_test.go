package volume

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// What a store takes is what du tells of it.
func TestMeasureDisk(t *testing.T) {
	dir := t.TempDir()
	for name, size := range map[string]int{
		"blobs/sha256/000/a": 5000, "blobs/sha256/fff/b": 1, "meta/000001.vlog": 9000, "ballast": 100_000, "ingest/part": 300, "state": 4096,
	} {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Truncate(filepath.Join(dir, "meta/000001.vlog"), 1<<30); err != nil { // as Badger does
		t.Fatal(err)
	}
	files, err := openFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	measured := func() DiskUse {
		use, err := MeasureDisk(t.Context(), files)
		if err != nil {
			t.Fatal(err)
		}
		return use
	}
	var use DiskUse
	var out []byte
	for { // until no file system has moved anything meanwhile
		use = measured()
		if out, err = exec.CommandContext(t.Context(), "du", "-s", "--block-size=1", dir).Output(); err != nil {
			t.Fatal(err)
		}
		if measured() == use {
			break
		}
	}
	told, err := strconv.ParseInt(strings.Fields(string(out))[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if use.Total() != told || use.Blobs < 5001 || use.Index < 9000 || use.Index > 1<<20 || use.Ballast < 100_000 || use.Other < 4396 {
		t.Errorf("it takes %+v, %d in all, and du tells %d", use, use.Total(), told)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := MeasureDisk(ended, files); err == nil {
		t.Error("it goes on when nobody waits for it")
	}
}
