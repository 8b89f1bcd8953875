package storage

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

// wantFound waits until so many blobs are accounted for, though nobody asked for them.
func wantFound(t *testing.T, s *Store, blobs int64) {
	t.Helper()
	for began := time.Now(); s.Usage().Blobs != blobs; time.Sleep(time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatalf("usage is %+v, want %d blobs", s.Usage(), blobs)
		}
		s.limits.Soon()
	}
}

// A file that the index does not know is found without being asked for, wherever
// one can be expected.
func TestUnrecordedFilesAreFound(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(t *testing.T, dir string)
		found  bool
	}{
		"closed properly": {func(*testing.T, string) {}, false},
		"crash": {func(t *testing.T, dir string) {
			reboot(t, dir, func(st *volume.State) { st.Boot = kernelRun() })
		}, true},
		"crash, and a quiet opening": {func(t *testing.T, dir string) {
			reboot(t, dir, func(st *volume.State) { st.Boot = kernelRun() })
			if err := openTest(t, Options{Path: dir, Quiet: true}).Close(); err != nil {
				t.Fatal(err)
			}
		}, true},
		"walk cut short": {func(t *testing.T, dir string) {
			reboot(t, dir, func(st *volume.State) { st.Clean, st.Unaccounted = true, true })
		}, true},
		"state lost": {func(t *testing.T, dir string) { erase(t, filepath.Join(dir, "state")) }, true},
		"index lost what was written last": {func(t *testing.T, dir string) {
			reboot(t, dir, func(st *volume.State) { st.Clean, st.Probe = true, st.Probe+1 })
		}, true},
		"index damaged": {func(t *testing.T, dir string) {
			rewrite(t, filepath.Join(dir, volume.MetaDir, "MANIFEST"), func([]byte) []byte { return nil })
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := openTest(t, Options{})
			b, _ := content(1, 1000)
			putBlob(t, s, b)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			b, d := content(2, 1000)
			layBlob(t, s.home.path, d, b)
			c.change(t, s.home.path)
			s = openTest(t, Options{Path: s.home.path, seams: seams{retry: time.Millisecond}})
			if c.found {
				wantFound(t, s, 2)
			}
			s = reopen(t, s)
			if c.found {
				wantFound(t, s, 2)
			} else {
				wantFound(t, s, 1)
			}
			if got := readBlob(t, s, d); string(got) != string(b) {
				t.Error("it has other bytes")
			}
			wantFound(t, s, 2)
		})
	}
}

// A blob that could not be read, nor taken away, is looked at again, by this store
// or the next, and is one like others if that was not its fault.
func TestCondemnedIsLookedAtAgain(t *testing.T) {
	for name, c := range map[string]struct {
		damaged, closed bool
	}{
		"sound":          {false, false},
		"sound, later":   {false, true},
		"damaged":        {true, false},
		"damaged, later": {true, true},
	} {
		t.Run(name, func(t *testing.T) {
			retry := time.Millisecond
			if c.closed {
				retry = time.Hour
			}
			dir := t.TempDir()
			disk, err := loadDisk(dir)
			if err != nil {
				t.Fatal(err)
			}
			broken := &faulty{disk: disk, boot: "boot"}
			s := openTest(t, Options{Path: dir, seams: seams{retry: retry, over: broken.over}})
			whole, _ := content(1, 1000)
			putBlob(t, s, whole)
			b, d := content(2, 1000)
			putBlob(t, s, b)
			i, _ := volume.IDOf(d)
			info, err := os.Lstat(blobFile(t, s, d))
			if err != nil {
				t.Fatal(err)
			}
			if c.damaged {
				flipBit(t, s, d, 5)
			}
			broken.arm("lstat "+sums.ReplaceAllString(i.BlobPath(), "$1")+" 1", fault{errno: syscall.EIO, on: true}, nil)
			if !s.judge.Quarantine(i, info, errors.New("it could not be read")) {
				t.Error("it is taken for another one")
			}
			broken.disarm()
			if c.closed {
				s = reopen(t, s)
			}
			want := int64(2)
			if c.damaged {
				want = 1
			}
			for began := time.Now(); ; time.Sleep(time.Millisecond) {
				files, _ := filepath.Glob(filepath.Join(dir, volume.BlobsDir, "*", "*", "*"))
				if len(files) == int(want) && len(s.judge.Suspects.Condemned()) == 0 {
					break
				}
				if time.Since(began) > time.Minute {
					t.Fatalf("%d files are there, want %d", len(files), want)
				}
			}
			wantFound(t, s, want)
		})
	}
}

// Where a part is made and said to have failed, nothing of it is left.
func TestPartThatWasMadeAllTheSame(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	disk, err := loadDisk(dir)
	if err != nil {
		t.Fatal(err)
	}
	broken := &faulty{disk: disk, boot: "boot"}
	s := openTest(t, Options{Path: dir, seams: seams{over: broken.over}})
	_, d := content(1, 1000)
	i, _ := volume.IDOf(d)
	broken.arm("open "+sums.ReplaceAllString(i.PartPath(), "$1")+" 1", fault{errno: syscall.EIO, late: true}, nil)
	_, err = s.Part(t.Context(), scope, d, 1000)
	wantErr(t, "begin a part", err, syscall.EIO)
	broken.disarm()
	if left, _ := os.ReadDir(filepath.Join(dir, volume.IngestDir)); len(left) != 0 {
		t.Errorf("%v is left", left)
	}
}

// openedFiles are files that tell when a file was opened, or was not there.
type openedFiles struct {
	volume.Files

	opened, missed func(name string)
}

func (o *openedFiles) Open(name string) (volume.File, error) {
	f, err := o.Files.Open(name)
	switch {
	case err == nil && o.opened != nil:
		o.opened(name)
	case errors.Is(err, fs.ErrNotExist) && o.missed != nil:
		o.missed(name)
	}
	return f, err
}

// A blob that comes right after it was looked for in vain keeps its record.
func TestRecordOfWhatHasJustCome(t *testing.T) {
	t.Parallel()
	files := &openedFiles{}
	s := openTest(t, Options{Quiet: true, seams: seams{over: func(f volume.Files) volume.Files { files.Files = f; return files }}})
	b, d := content(1, 1000)
	files.missed = func(string) {
		files.missed = nil
		putBlob(t, s, b)
	}
	_, _, err := s.OpenBlob(t.Context(), d)
	wantErr(t, "open a blob that was not there", err, fs.ErrNotExist)
	settle(t, s)
	if r, got := check(t, s, CheckOptions{}); len(got) > 0 || r.Blobs != 1 {
		t.Errorf("found %+v, %d blobs in order", r.Findings, r.Blobs)
	}
}

// A blob that is condemned when it is asked for is not read, though it was taken out
// of use, or replaced, right after it was opened.
func TestCondemnedWhileItIsOpened(t *testing.T) {
	t.Parallel()
	for name, replaced := range map[string]bool{"gone": false, "replaced": true} {
		t.Run(name, func(t *testing.T) {
			files := &openedFiles{}
			s := openTest(t, Options{seams: seams{retry: time.Hour, over: func(f volume.Files) volume.Files { files.Files = f; return files }}})
			b, d := content(1, 1000)
			putBlob(t, s, b)
			i, _ := volume.IDOf(d)
			flipBit(t, s, d, 5)
			s.judge.Suspects.Condemn(i)
			files.opened = func(string) {
				files.opened = nil
				s.judge.Quarantine(i, nil, errors.New("it is damaged"))
				putBlob(t, s, b)
				if !replaced {
					erase(t, blobFile(t, s, d))
				}
			}
			f, _, err := s.OpenBlob(t.Context(), d)
			if !replaced {
				wantErr(t, "open a blob that was just taken out of use", err, fs.ErrNotExist)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, b) {
				t.Errorf("it reads wrong: %v", err)
			}
		})
	}
}
