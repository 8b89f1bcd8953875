package storage

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// awaitSaved waits until what is written down of a part is what is wanted.
func awaitSaved(t *testing.T, s *Store, i volume.ID, want oci.Extents) {
	t.Helper()
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		c, err := s.parts.files.read(i.PartName())
		if err == nil && slices.Equal(c.Covered, want) {
			if c.Boot != "" {
				t.Error("it is not on the disk")
			}
			return
		}
		if time.Since(began) > time.Minute {
			t.Fatalf("saved is %v, %v, want %v", c.Covered, err, want)
		}
	}
}

// What has come of a part is saved after a while, though nothing more comes, and after
// so many bytes: who kills the process takes little of it, and so does a power failure.
func TestRunningPartIsSaved(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		every time.Duration
		step  int64
	}{
		"after a while": {10 * time.Millisecond, 100},
		"by bytes":      {time.Hour, saveBytes},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			disk, err := loadDisk(dir)
			if err != nil {
				t.Fatal(err)
			}
			s := openTest(t, Options{Path: dir, seams: seams{save: c.every, over: (&faulty{disk: disk, boot: "boot"}).over}})
			_, d := content(1, 1)
			i, _ := volume.IDOf(d)
			p := beginPart(t, s, d, 4*c.step)
			b := bytes.Repeat([]byte("x"), int(c.step))
			for _, step := range []struct {
				at   int64
				want oci.Extents
			}{
				{0, extents(0, c.step)},
				{2 * c.step, extents(0, c.step, 2*c.step, 3*c.step)},
				{c.step, extents(0, 3*c.step)},
			} {
				if _, err := p.WriteAt(b, step.at); err != nil {
					t.Fatal(err)
				}
				awaitSaved(t, s, i, step.want)
			}
			next := openTest(t, Options{Path: killed(t, s), seams: seams{over: (&faulty{disk: disk, boot: "another"}).over}})
			if got := beginPart(t, next, d, 4*c.step).Covered(); !slices.Equal(got, extents(0, 3*c.step)) {
				t.Errorf("after a power failure, covered is %v", got)
			}
			if err := p.Remove(); err != nil {
				t.Fatal(err)
			}
			wantIngest(t, s, 0)
		})
	}
}

// A part that nobody ends before the store closes is gone on with, also when nothing
// was saved yet.
func TestPartIsKeptByClose(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	b, d := content(1, 1000)
	p := beginPart(t, s, d, 1000)
	if _, err := p.WriteAt(b[:700], 0); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	s = openTest(t, Options{Path: s.home.path})
	p = beginPart(t, s, d, 1000)
	got := make([]byte, 700)
	if _, err := p.ReadAt(got, 0); err != nil || !slices.Equal(p.Covered(), extents(0, 700)) || !bytes.Equal(got, b[:700]) {
		t.Errorf("covered is %v, %v", p.Covered(), err)
	}
}

// Nothing of a part that has ended is written after that, however often it is saved.
func TestSavingEndsWithThePart(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{seams: seams{save: time.Microsecond}})
	for k := range uint64(50) {
		b, d := content(k, 4000)
		p := beginPart(t, s, d, 4000)
		for off := int64(0); off < 4000; off += 100 {
			if _, err := p.WriteAt(b[off:off+100], off); err != nil {
				t.Fatal(err)
			}
		}
		want := 0
		var err error
		switch k % 3 {
		case 0:
			p.Publish(4000)
			err = p.Commit(4000)
		case 1:
			err = p.Remove()
		case 2:
			err, want = p.Suspend(extents(0, 2000)), 2
		}
		if err != nil {
			t.Fatal(err)
		}
		wantIngest(t, s, want)
		if want > 0 {
			p = beginPart(t, s, d, 4000)
			if !slices.Equal(p.Covered(), extents(0, 2000)) {
				t.Errorf("covered is %v", p.Covered())
			}
			if err := p.Remove(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// What the disk did not take while the part came, it is not asked for again: the blob
// is not kept.
func TestPartThatCannotBeSaved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	disk, err := loadDisk(dir)
	if err != nil {
		t.Fatal(err)
	}
	broken := &faulty{disk: disk, boot: "boot"}
	s := openTest(t, Options{Path: dir, seams: seams{save: time.Hour, over: broken.over}})
	b, d := content(1, 1000)
	p := writePart(t, s, b, d)
	i, _ := volume.IDOf(d)
	broken.arm("sync "+sums.ReplaceAllString(i.PartPath(), "$1")+" 1", fault{errno: syscall.EIO}, nil)
	p.saving.save()
	broken.disarm()
	_, err = p.WriteAt(b[:1], 0)
	wantErr(t, "write", err, syscall.EIO)
	p.Publish(1000)
	if _, err := s.HasBlob(t.Context(), d); err == nil {
		t.Error("it is published")
	}
	wantErr(t, "commit", p.Commit(1000), syscall.EIO)
	if left, _ := os.ReadDir(filepath.Join(dir, volume.IngestDir)); len(left) != 0 {
		t.Errorf("%v is left", left)
	}
}
