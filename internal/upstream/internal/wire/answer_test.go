package wire

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"runtime"
	"testing"

	"github.com/pullgate/pullgate/internal/oci"
)

// pieces is a body that comes in pieces, and says nothing at its end.
type pieces struct{ io.Reader }

func (p pieces) Read(b []byte) (int, error) { return p.Reader.Read(b[:min(len(b), 1000)]) }

func answerOf(raw []byte, length int64) *Answer {
	return &Answer{
		Response: &http.Response{ContentLength: length, Body: io.NopCloser(pieces{bytes.NewReader(raw)})},
		URL:      &url.URL{Host: "hub.test"},
	}
}

// A body comes whole, whether its length is announced or not, and one that is longer than
// the limit is refused.
func TestRead(t *testing.T) {
	t.Parallel()
	const limit = 1 << 20
	for _, size := range []int{0, 1, firstRead - 1, firstRead, firstRead + 1, 5 * firstRead, 100_000, limit - 1, limit, limit + 1} {
		raw := bytes.Repeat([]byte("0123456789"), size/10+1)[:size]
		for _, length := range []int64{int64(size), -1} {
			for _, buffer := range [][]byte{nil, make([]byte, 70_000), make([]byte, 2*limit)} {
				got, err := answerOf(raw, length).ReadInto(t.Context(), buffer, limit)
				if size > limit {
					if f, ok := errors.AsType[*Failure](err); !ok || f.Class != oci.ClassLength {
						t.Errorf("%d bytes: %d, %v", size, len(got), err)
					}
					continue
				}
				if err != nil || !bytes.Equal(got, raw) {
					t.Errorf("%d bytes, announced %d: %d, %v", size, length, len(got), err)
				}
				if size > 0 && size < len(buffer) && &got[0] != &buffer[0] {
					t.Errorf("%d bytes do not lie in the buffer of %d", size, len(buffer))
				}
			}
		}
	}
	if _, err := answerOf([]byte("12345"), 6).Read(t.Context(), limit); err == nil {
		t.Error("a body that is cut is no error")
	}
}

// A body of unknown length takes little more memory than it has.
func TestReadTakesLittleMemory(t *testing.T) {
	raw := make([]byte, oci.MaxManifestSize)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	got, err := answerOf(raw, -1).Read(t.Context(), oci.MaxManifestSize)
	runtime.ReadMemStats(&after)
	if err != nil || len(got) != len(raw) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > oci.MaxManifestSize*3/2 {
		t.Errorf("it takes %d bytes", took)
	}
}
