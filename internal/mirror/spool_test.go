package mirror_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"testing"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/storage"
)

// relayed takes a blob out of the files that it is given, as the kernel does, until
// there is none any more.
func relayed(content io.ReadSeeker, size int) (got []byte, err error) {
	for len(got) < size {
		file, n, err := content.(oci.Spool).Next()
		if err != nil || file == nil {
			return got, err
		}
		piece := make([]byte, n)
		if _, err := io.ReadFull(file, piece); err != nil {
			return got, err
		}
		got = append(got, piece...)
		if _, err := content.Seek(n, io.SeekCurrent); err != nil {
			return got, err
		}
	}
	return got, nil
}

// Nothing is given out for the kernel to send that a Read would not give: no byte
// that has not come, and none of the end before it is verified.
func TestSpool(t *testing.T) { inBothModes(t, testSpool) }

func testSpool(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const size, half = 8 * mib, 4 * mib
	want := registrytest.Random(1, size)
	r := blobRequest(f.upstream.PutBlob(repository, want))
	reached, open := make(chan struct{}), make(chan struct{})
	f.upstream.Hook(gated(half, func() { close(reached) }, open))
	b, _, err := f.mirror.Blob(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	<-reached
	got, err := relayed(b.Content, mib)
	if err != nil || len(got) > half {
		t.Errorf("%d bytes while the upstream has sent %d, %v", len(got), half, err)
	}
	close(open)
	more, err := relayed(b.Content, size-len(got))
	if err != nil || !bytes.Equal(append(got, more...), want) {
		t.Errorf("%d wrong bytes, %v", len(got)+len(more), err)
	}
	if _, _, err := b.Content.(oci.Spool).Next(); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v", err)
	}
	if err := b.Content.Close(); err != nil {
		t.Error(err)
	}
	if _, _, err := b.Content.(oci.Spool).Next(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	f.filled()
	f.saw(0, 1)
}

// The wrong end of a blob is in no file that is given out.
func TestSpoolOfWrongBlob(t *testing.T) { inBothModes(t, testSpoolOfWrongBlob) }

func testSpoolOfWrongBlob(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const size = 4 * mib
	want := registrytest.Random(1, size)
	r := blobRequest(f.upstream.PutBlob(repository, want))
	begun, begin := registrytest.Hold(t)
	f.upstream.Hook(func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) {
		wrong := bytes.Clone(want)
		wrong[size-1] ^= 1
		w.Header().Set("Content-Length", strconv.Itoa(size))
		_, _ = w.Write(wrong[:mib])
		<-begun
		_, _ = w.Write(wrong[mib:])
	})
	b, _, err := f.mirror.Blob(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	begin()
	defer b.Content.Close()
	got, err := relayed(b.Content, size)
	if oci.ClassOf(err) != oci.ClassDigest || len(got) > size-64<<10 {
		t.Errorf("%d bytes of %d, %v", len(got), size, err)
	}
	f.filled()
}

// A blob that the store has no room for ends in Reads.
func TestSpoolEndsWhereTheStoreDoes(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const size = 8 * mib
	want := registrytest.Random(1, size)
	r := blobRequest(f.upstream.PutBlob(repository, want))
	f.cache.FailParts(3*mib, storage.ErrNoSpace)
	b, _, err := f.mirror.Blob(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Content.Close()
	got, err := relayed(b.Content, size)
	if err != nil || len(got) > 3*mib {
		t.Errorf("%d bytes of what was stored, %v", len(got), err)
	}
	rest, err := io.ReadAll(b.Content)
	if err != nil || !bytes.Equal(append(got, rest...), want) {
		t.Errorf("%d and %d wrong bytes, %v", len(got), len(rest), err)
	}
}
