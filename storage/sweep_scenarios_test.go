package storage

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// scenario is something that a store does, to be cut short at each of its
// operations. It begins with a store that holds what seedStore put there.
type scenario struct {
	name string
	// empty: it begins with an empty directory. opening: Open is part of it.
	empty, opening bool
	// prepare changes the directory before the store is opened.
	prepare func(t *testing.T, w *world)
	run     func(w *world)
	// again, if not nil, is what helps when there is no fault any more.
	again func(w *world)
	// rebuilds: it moves the index about, of which the model of a power failure
	// knows nothing.
	rebuilds bool
	// verifies: it reads blobs, and takes those out of use that it cannot read.
	verifies bool
}

const (
	seedBlobs  = 3
	seedHalf   = 50 // the number of the suspended part
	seedTags   = 2
	sweepBytes = 3000
	evictTo    = 4000
)

// seedStore makes the directory that scenarios begin with: a few blobs, a
// suspended part, one in quarantine, a snapshot.
func seedStore(t *testing.T, dir string) {
	t.Helper()
	s := openTest(t, Options{Path: dir})
	fill(t, s, seedTags)
	for k := range seedBlobs {
		b, _ := content(uint64(k)+100, sweepBytes)
		putBlob(t, s, b)
	}
	seedRemoved(t, s)
	b, d := content(seedHalf, sweepBytes)
	p := beginPart(t, s, d, sweepBytes)
	_, err := p.WriteAt(b[:1000], 0)
	if err := errors.Join(err, p.Suspend(extents(0, 1000)), p.Close()); err != nil {
		t.Fatal(err)
	}
	b, d = content(51, sweepBytes)
	putBlob(t, s, b)
	flipBit(t, s, d, 77)
	if done, err := s.Scrub(t.Context(), nil); err != nil || done.Damaged != 1 {
		t.Fatal(done, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func scenarios() []scenario {
	return []scenario{
		{name: "open-empty", empty: true, opening: true, run: (*world).settle},
		{name: "open", opening: true, run: (*world).settle},
		{name: "open-in-doubt", opening: true, verifies: true, run: (*world).readInDoubt, prepare: func(t *testing.T, w *world) {
			reboot(t, w.dir, func(*volume.State) {})
		}},
		{name: "open-damaged", opening: true, rebuilds: true, verifies: true, run: (*world).settle, prepare: func(t *testing.T, w *world) {
			rewrite(t, filepath.Join(w.dir, volume.MetaDir, "MANIFEST"), func([]byte) []byte { return nil })
		}},
		{name: "close", run: func(w *world) {
			b, d := content(60, 100)
			if w.s.PutManifest(context.Background(), scope, oci.Manifest{MediaType: "a/b", Digest: d, Bytes: b}, nil) == nil {
				w.put(61, sweepBytes, sweepBytes)
				w.closes()
			}
		}},
		{name: "ingest", run: func(w *world) { w.put(60, sweepBytes, sweepBytes) }},
		{name: "publish", run: func(w *world) { w.publish(60) }},
		{name: "ingest-unknown-size", run: func(w *world) { w.put(60, sweepBytes, -1) }},
		{name: "commit-over-unrecorded", run: func(w *world) { w.put(60, sweepBytes, sweepBytes) }, prepare: func(t *testing.T, w *world) {
			b, d := content(60, sweepBytes)
			b[5] ^= 1
			layBlob(t, w.dir, d, b)
			w.doubted[d], w.planted[d] = true, true
		}},
		{name: "adopt-unrecorded", verifies: true, run: (*world).readInDoubt, prepare: func(t *testing.T, w *world) {
			b, d := content(60, sweepBytes)
			layBlob(t, w.dir, d, b)
			w.content[d] = b
			b, d = content(61, sweepBytes)
			w.content[d] = b
			w.doubted[d], w.planted[d] = true, true
			layBlob(t, w.dir, d, append([]byte{^b[0]}, b[1:]...))
		}},
		{name: "commit-recorded", run: func(w *world) { w.put(100, sweepBytes, sweepBytes) }},
		{name: "suspend-resume", run: func(w *world) {
			w.half(60, extents(0, 1000))
			w.half(60, extents(0, 1000, 2000, 2500))
			w.put(60, sweepBytes, sweepBytes)
			w.put(seedHalf, sweepBytes, sweepBytes)
		}},
		{name: "remove", run: func(w *world) {
			w.half(60, nil)
			_, d := content(60, sweepBytes)
			if p, err := w.s.Part(context.Background(), scope, d, -1); err == nil {
				_, _ = p.WriteAt([]byte("x"), 0)
				_ = p.Close() // without an end
			}
		}},
		{name: "evict", run: func(w *world) {
			clear(w.must)
			w.evict()
		}, again: func(w *world) {
			w.evict()
			if blobs, size := w.onDisk(); size > evictTo {
				w.problem("%d blobs of %d bytes are left after an eviction", blobs, size)
			}
		}},
		{name: "remove-image", run: removeSeed("ghcr.io/a/b:gone"), again: removedSeed("ghcr.io/a/b:gone")},
		{name: "remove-repository", run: removeSeed("ghcr.io/a/b"), again: removedSeed("ghcr.io/a/b")},
		{name: "evict-by-directory", run: func(w *world) {
			clear(w.must)
			_, _, _ = w.s.keeper.eviction.Remover.RemoveOldest(context.Background(), 5000)
			_ = w.s.parts.sweep(w.s.now())
		}, prepare: func(t *testing.T, w *world) {
			for k := range seedBlobs {
				_, d := content(uint64(k)+100, sweepBytes)
				i, _ := volume.IDOf(d)
				// Each of another age: the same ones go in each run.
				old := time.Now().Add(-time.Duration(k+1) * 24 * time.Hour)
				if err := os.Chtimes(filepath.Join(w.dir, i.BlobPath()), old, old); err != nil {
					t.Fatal(err)
				}
			}
		}},
		{name: "quarantine", run: (*world).scrub, verifies: true, prepare: rot},
		{name: "quarantine-full", run: (*world).scrub, verifies: true, prepare: func(t *testing.T, w *world) {
			rot(t, w)
			for k := range quarantineFiles - 1 {
				name := filepath.Join(w.dir, quarantineDir, time.Unix(int64(k), 0).UTC().Format(index.SnapshotTime)+"-00")
				for _, suffix := range []string{quarantineSuffix, ".json"} {
					if err := os.WriteFile(name+suffix, []byte("{}"), 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
		}},
		{name: "checkpoint", run: func(w *world) {
			w.put(60, sweepBytes, sweepBytes)
			w.s.keeper.durability.Checkpoint(w.s.home.lock)
		}},
		{name: "ballast", run: func(w *world) {
			w.setVolume(1<<20, 1<<20)
			_ = w.s.home.ballast.Make()
			_ = w.s.home.ballast.Drop()
			w.setVolume(1<<50, 1<<50)
		}},
	}
}

// layBlob lays a file where a blob belongs.
func layBlob(t *testing.T, dir string, d digest.Digest, b []byte) {
	t.Helper()
	i, err := volume.IDOf(d)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, i.BlobPath())
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, b, 0o444)); err != nil {
		t.Fatal(err)
	}
}

// rot flips a bit of a blob that is recorded, so that only a scrub finds it.
func rot(t *testing.T, w *world) {
	t.Helper()
	b, d := content(100, sweepBytes)
	b[9] ^= 4
	layBlob(t, w.dir, d, b)
	w.rotten[d], w.planted[d] = true, true
	delete(w.must, d)
}

func (w *world) evict() {
	w.s.SetLimits(Limits{MaxSize: evictTo})
	w.quiesce()
	w.s.SetLimits(Limits{})
	w.quiesce()
}

// scrub looks for what is rotten. A pass that got to its end has found it, and one
// that did not may have.
func (w *world) scrub() {
	_, err := w.s.Scrub(context.Background(), nil)
	for d := range w.rotten {
		i, _ := volume.IDOf(d)
		_, lerr := os.Lstat(filepath.Join(w.dir, i.BlobPath()))
		if err == nil || lerr != nil || slices.Contains(w.s.judge.Suspects.Condemned(), i) {
			delete(w.rotten, d)
		}
	}
}

// put stores a blob as a fill does. announced is the size that is said at first;
// -1 = unknown.
func (w *world) put(seed uint64, size int, announced int64) {
	b, d := content(seed, size)
	w.content[d] = b
	if w.complete(d, announced) == nil {
		w.must[d] = true
		delete(w.doubted, d)
	}
}

// publish stores a blob as a fill does, without bringing it to the disk.
func (w *world) publish(seed uint64) {
	b, d := content(seed, sweepBytes)
	w.content[d] = b
	p, err := w.s.Part(context.Background(), scope, d, sweepBytes)
	if err != nil {
		return
	}
	if w.write(p, d, extents(0, sweepBytes)) == nil {
		if p.Publish(sweepBytes); p.ending.placed {
			w.must[d] = true
		}
	}
	_ = p.Close()
}

// complete begins or goes on with a part, and commits it.
func (w *world) complete(d digest.Digest, announced int64) error {
	b := w.content[d]
	p, err := w.s.Part(context.Background(), scope, d, announced)
	if err != nil {
		return err
	}
	defer func() { _ = p.Close() }()
	half := int64(len(b) / 2)
	if err := w.write(p, d, extents(0, half, half, int64(len(b)))); err != nil {
		return errors.Join(err, p.Remove())
	}
	p.Publish(int64(len(b)))
	return p.Commit(int64(len(b)))
}

// half begins or goes on with a part, and suspends it with what is to be covered.
func (w *world) half(seed uint64, covered oci.Extents) {
	b, d := content(seed, sweepBytes)
	w.content[d] = b
	p, err := w.s.Part(context.Background(), scope, d, sweepBytes)
	if err != nil {
		return
	}
	defer func() { _ = p.Close() }()
	if w.write(p, d, covered) != nil {
		_ = p.Remove()
		return
	}
	_ = p.Suspend(covered)
}

// write writes what a part does not hold, as a fill does, and looks at what it
// claims to hold.
func (w *world) write(p *Part, d digest.Digest, covered oci.Extents) error {
	b := w.content[d]
	for _, e := range p.Covered() {
		got := make([]byte, e.End-e.Start)
		if _, err := p.ReadAt(got, e.Start); err == nil && !bytes.Equal(got, b[e.Start:e.End]) {
			w.problem("part of %s claims %v and has other bytes", d, e)
		}
	}
	for _, e := range covered {
		for at := e.Start; at < e.End; {
			end := e.End
			for _, held := range p.Covered() {
				switch {
				case at < held.Start:
					end = min(end, held.Start)
				case at < held.End:
					at, end = held.End, e.End
				}
			}
			if at >= end {
				break
			}
			if _, err := p.WriteAt(b[at:end], at); err != nil {
				return err
			}
			at = end
		}
	}
	return nil
}

// readInDoubt reads all there is, and waits for the store to do so.
func (w *world) readInDoubt() {
	for d := range w.content {
		w.wantSound(d, false)
	}
	w.settle()
}

// settle returns when the store has verified all that it had doubts about, so that
// what it does for that is done in each run. Where everything fails it comes to no
// end.
func (w *world) settle() {
	began, patience := time.Now(), sweepPatience
	for !w.settled() && time.Since(began) < patience {
		if w.files.failing() {
			patience = 100 * time.Millisecond
		}
		time.Sleep(time.Millisecond)
	}
}

func (w *world) settled() bool {
	if !w.s.index.IsOpen() {
		return false
	}
	st := w.s.home.state.Read()
	return st.Trusted.IsZero() && !st.Unaccounted && len(w.s.judge.Suspects.Condemned()) == 0
}
