package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// world is one store, and what is known of what it has to hold.
type world struct {
	dir   string
	files *faulty
	s     *Store // nil while it is not open
	last  *Store // that was closed
	log   *bytes.Buffer

	content map[digest.Digest][]byte
	must    map[digest.Digest]bool // acknowledged, and not since removed
	doubted map[digest.Digest]bool // may be there or not
	rotten  map[digest.Digest]bool // may be wrong: nobody had a reason to look
	planted map[digest.Digest]bool // were damaged from the beginning

	again    func(*world)
	problems []string
}

func (w *world) problem(format string, args ...any) {
	w.problems = append(w.problems, fmt.Sprintf(format, args...))
}

// newWorld copies the directory of a scenario.
func newWorld(t *testing.T, sc scenario, seeded string) *world {
	t.Helper()
	w := &world{
		dir: sweepDir(t), log: &bytes.Buffer{}, again: sc.again, content: make(map[digest.Digest][]byte), must: make(map[digest.Digest]bool),
		doubted: make(map[digest.Digest]bool), rotten: make(map[digest.Digest]bool), planted: make(map[digest.Digest]bool),
	}
	if !sc.empty {
		if err := os.CopyFS(w.dir, os.DirFS(seeded)); err != nil {
			t.Fatal(err)
		}
		for k := range seedBlobs {
			b, d := content(uint64(k)+100, sweepBytes)
			w.content[d], w.must[d] = b, true
		}
		for _, seed := range seedGone {
			b, d := content(seed, 1000)
			w.content[d], w.must[d] = b, true
		}
		b, d := content(seedHalf, sweepBytes)
		w.content[d] = b
		b = []byte("blob")
		w.content[oci.Sum(b)], w.must[oci.Sum(b)] = b, true
	}
	if sc.prepare != nil {
		sc.prepare(t, w)
	}
	w.load(t, "boot 1")
	return w
}

// tear finds out which blobs have their name on the disk, but not their bytes.
func (w *world) tear(names map[string]*inode) {
	for d, b := range w.content {
		i, _ := volume.IDOf(d)
		if names[i.BlobPath()] == nil {
			continue
		}
		if got, err := os.ReadFile(filepath.Join(w.dir, i.BlobPath())); err != nil || !bytes.Equal(got, b) {
			w.planted[d] = true
		}
	}
}

// load begins to keep track of what is done to the directory.
func (w *world) load(t *testing.T, boot string) {
	t.Helper()
	disk, err := loadDisk(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	w.files = &faulty{disk: disk, boot: boot}
}

// sweepPatience is how long is waited for what the store does in the background,
// where nothing says when that is done: more than a busy machine ever takes.
const sweepPatience = 20 * time.Second

// opens begins with the store. A lock that was let go of is held a moment longer
// by each process that another test is just about to start.
func (w *world) opens(t *testing.T) error {
	s, err := Open(t.Context(), Options{
		Path: w.dir, LockWait: sweepPatience, seams: seams{over: w.files.over, retry: 2 * time.Millisecond, patience: 30 * time.Second},
		Logger: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if w.s = s; err == nil {
		w.quiesce()
	}
	return err
}

// quiesce returns when the house keeper did what it was asked to.
func (w *world) quiesce() {
	for range cap(w.s.limits.Kick) + 2 {
		w.s.limits.Kick <- struct{}{}
	}
}

// flush returns when the index has made what was asked of it.
func (w *world) flush() { _ = w.s.index.Update(0, func(*index.Batch) error { return nil }) }

func (w *world) setVolume(free, total int64) { setVolume(w.s, free, total) }

// closes is done with it.
func (w *world) closes() error {
	w.last, w.s = w.s, nil
	return w.last.Close()
}

// abandon ends a store of which nothing may reach the directory any more.
func (w *world) abandon() error {
	s := w.s
	if w.s = nil; s == nil {
		s = w.last
	}
	if s == nil {
		return nil
	}
	s.index.Leave()
	_ = s.Close()
	if s.index.IsOpen() {
		return s.index.Release()
	}
	return nil
}

// wantSound reads a blob, which may be absent, unless it must be there, but never
// wrong. It reports whether it could be read.
func (w *world) wantSound(d digest.Digest, must bool) bool {
	f, size, err := w.s.OpenBlob(context.Background(), d)
	if err != nil {
		if must {
			w.problem("blob %s is lost: %v", d, err)
		}
		return false
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if (err != nil || size != int64(len(b)) || !bytes.Equal(b, w.content[d])) && !w.rotten[d] {
		w.problem("blob %s reads wrong: %v", d, err)
	}
	return true
}

// audit looks at a store from which nothing is kept any more: it holds what it
// must, works, and accounts for what is there. fresh says that it was just opened,
// tags that none of those may be missing, names what the disk held; nil = not known.
func (w *world) audit(fresh, tags bool, names map[string]*inode) {
	for began := time.Now(); !w.s.Usage().IndexOpen; time.Sleep(2 * time.Millisecond) {
		if time.Since(began) > sweepPatience {
			w.problem("the index stays closed: %s", w.s.Usage().IndexError)
			return
		}
	}
	w.quiesce()
	w.flush()
	if fresh {
		w.wantLayout(false)
	}
	if len(w.planted) == 0 {
		w.wantAccounted(true)
	}
	if w.again != nil {
		w.again(w)
		w.again = nil
	}
	for d := range w.content {
		i, _ := volume.IDOf(d)
		must := w.must[d]
		if names != nil {
			must = names[i.BlobPath()] != nil && !w.doubted[d] && !w.planted[d]
		}
		if w.wantSound(d, must) {
			continue
		}
		if err := w.complete(d, int64(len(w.content[d]))); err != nil {
			w.problem("blob %s cannot be stored: %v", d, err)
		}
		w.must[d] = true
		w.wantSound(d, true)
	}
	if bad := w.s.Usage().QuarantinedBlobs; fresh && bad > int64(len(w.planted)) {
		w.problem("%d blobs were damaged", bad)
	}
	if tags {
		for k := range seedTags {
			_, d := content(uint64(k), 2000)
			tag, err := w.s.Tag(context.Background(), scope, "t"+strconv.Itoa(k))
			if err != nil || tag.Digest != d {
				w.problem("tag t%d is %v, %v", k, tag, err)
			}
			if _, err := w.s.Manifest(context.Background(), d); err != nil {
				w.problem("manifest of t%d: %v", k, err)
			}
		}
	}
	b, d := content(999, 1700)
	w.content[d] = b
	if err := w.complete(d, 1700); err != nil {
		w.problem("new blob cannot be stored: %v", err)
	}
	w.must[d] = true
	w.wantSound(d, true)
	w.wantAccounted(false)
	if err := w.s.parts.sweep(w.s.now().Add(-maxIdle)); err != nil {
		w.problem("sweep parts: %v", err)
	}
	if fresh {
		w.wantLayout(true)
	}
}

// wantAccounted compares what the store says it holds with its directory. Before
// anybody asked for them, blobs that are gone may be counted still. What a fault
// left without a record counts once the walk that begins with the opening has found
// it, or the next look at the limits; those come every few minutes, and here at once.
func (w *world) wantAccounted(unasked bool) {
	var u Usage
	var blobs, size int64
	for began := time.Now(); time.Since(began) < sweepPatience; time.Sleep(5 * time.Millisecond) {
		w.quiesce()
		w.flush()
		blobs, size = w.onDisk()
		u = w.s.Usage()
		exact := u.Blobs == blobs && u.BlobBytes == size || unasked && u.Blobs >= blobs && u.BlobBytes >= size
		if exact && u.Counted && u.Fills == 0 {
			return
		}
	}
	w.problem("there are %d blobs of %d bytes; accounted for are %+v", blobs, size, u)
}

// onDisk counts the files of blobs.
func (w *world) onDisk() (blobs, size int64) {
	err := filepath.WalkDir(filepath.Join(w.dir, volume.BlobsDir), func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			blobs, size = blobs+1, size+info.Size()
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.problem("count blobs: %v", err)
	}
	return blobs, size
}

var layoutNames = regexp.MustCompile(`^(LOCK|VERSION|state|ballast|history\.json\.gz|meta|meta\.bad-\d{8}T\d{6}Z|blobs|ingest|quarantine|snapshot|` +
	`snapshot/meta-\d{8}T\d{6}Z\.zst|blobs/sha256|blobs/sha256/[0-9a-f]{3}|blobs/sha256/[0-9a-f]{3}/[0-9a-f]{64}|` +
	`ingest/sha256-[0-9a-f]{64}\.(part|json)|quarantine/\d{8}T\d{6}Z-[0-9a-f]{2,64}\.(bad|json))$`)

// wantLayout looks for files that do not belong there, or are too many. idle says
// that there are no suspended parts.
func (w *world) wantLayout(idle bool) {
	w.wantParts(idle)
	count := make(map[string]int)
	look := func(name string, e fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		if !layoutNames.MatchString(name) {
			w.problem("there is a file %s", name)
		}
		if indexName(name) {
			return fs.SkipDir
		}
		dir, base, _ := strings.Cut(name, "/")
		count[dir+filepath.Ext(base)]++
		if stem, ok := strings.CutSuffix(name, ".json"); ok && dir == quarantineDir {
			_, bad := os.Lstat(filepath.Join(w.dir, stem+quarantineSuffix))
			if _, reason := os.Lstat(filepath.Join(w.dir, name)); bad != nil && reason == nil {
				w.problem("%s stands alone", name)
			}
		}
		return nil
	}
	// A pass in the background may be writing.
	err := fs.WalkDir(os.DirFS(w.dir), ".", look)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.problem("walk: %v", err)
	}
	if n := count[quarantineDir+quarantineSuffix]; n > quarantineFiles {
		w.problem("quarantine holds %d files", n)
	}
	if n := count[index.SnapshotDir+index.SnapshotSuffix]; n > index.SnapshotsKept {
		w.problem("there are %d snapshots", n)
	}
}

// wantParts looks for what is left of parts that were ended.
func (w *world) wantParts(idle bool) {
	entries, err := os.ReadDir(filepath.Join(w.dir, volume.IngestDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.problem("list parts: %v", err)
	}
	for _, e := range entries {
		if _, err := w.s.parts.held(volume.PartNameIn(e.Name()), -1); idle || err != nil {
			w.problem("%s is left", e.Name())
		}
	}
}

// ends closes the store, which must let go of everything.
func (w *world) ends() {
	if err := w.closes(); err != nil {
		w.problem("close: %v", err)
	}
	if n := w.files.descriptors(); n != 0 {
		w.problem("%d descriptors are left open", n)
	}
}
