package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	mimemultipart "mime/multipart"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

// piecesOf reads an answer of several parts, as clients do: which bytes each part
// says that it holds, checked against the content.
func piecesOf(t *testing.T, answer *http.Response, body, content []byte, mediaType string) (pieces [][2]int) {
	t.Helper()
	of, parameters, err := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	if err != nil || of != "multipart/byteranges" || answer.StatusCode != http.StatusPartialContent {
		t.Fatalf("got %s of type %q", answer.Status, answer.Header.Get("Content-Type"))
	}
	wantHeader(t, answer, http.Header{"Content-Range": nil, "Content-Length": {strconv.Itoa(len(body))}})
	reader := mimemultipart.NewReader(bytes.NewReader(body), parameters["boundary"])
	for {
		part, err := reader.NextPart()
		if err == io.EOF {
			return pieces
		}
		if err != nil {
			t.Fatal(err)
		}
		var first, last, size int
		if _, err := fmt.Sscanf(part.Header.Get("Content-Range"), "bytes %d-%d/%d", &first, &last, &size); err != nil || size != len(content) {
			t.Fatalf("part says %v: %v", part.Header, err)
		}
		got, err := io.ReadAll(part)
		if err != nil || last >= size || first > last || !bytes.Equal(got, content[first:last+1]) || part.Header.Get("Content-Type") != mediaType || len(part.Header) != 2 {
			t.Fatalf("part %v has %d bytes that are not those, or %v", part.Header, len(got), err)
		}
		pieces = append(pieces, [2]int{first, last})
	}
}

// reference computes byte by byte what a list of ranges has to give: the parts,
// from byte to byte, in the order in which they were first asked for.
func reference(asked [][2]int, size int) (want [][2]int) {
	for i, a := range asked {
		if asked[i][1] = min(a[1], size-1); a[0] >= size || a[1] < a[0] {
			continue
		}
		want = append(want, asked[i])
	}
	overlap := func(a, b [2]int) bool {
		for at := range size {
			if a[0] <= at && at <= a[1] && b[0] <= at && at <= b[1] {
				return true
			}
		}
		return false
	}
	for i := 0; i < len(want); i++ {
		for j := i + 1; j < len(want); j++ {
			if overlap(want[i], want[j]) {
				want[i] = [2]int{min(want[i][0], want[j][0]), max(want[i][1], want[j][1])}
				want = slices.Delete(want, j, j+1)
				i, j = -1, len(want) // from the start: it has grown
			}
		}
	}
	return want
}

// TestRandomRangeLists asks for lists of ranges of every kind of content, and
// compares what comes with a computation byte by byte.
func TestRandomRangeLists(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	m := &fakeMirror{}
	server, client := serve(t, New(options(m)), false)
	for round := range 300 {
		size := 1 + random.IntN(60)
		if round%10 == 0 {
			size = 200_000 + random.IntN(100)
		}
		b := testBytes(size)
		m.manifest = testManifest(b)
		path, mediaType := "/blobs/"+oci.Sum(b).String(), oci.MediaTypeOctetStream
		switch round % 3 {
		case 0:
			m.blob = fileBlob(t, b)
		case 1:
			m.blob = fillBlob(b, 1+random.IntN(70_000), 0, nil)
		default:
			path, mediaType = "/manifests/"+oci.Sum(b).String(), m.manifest.MediaType
		}
		var asked [][2]int
		var specs []string
		for range 1 + random.IntN(8) {
			first, length := random.IntN(size+3), random.IntN(1+size/4)
			switch random.IntN(6) {
			case 0:
				asked, specs = append(asked, [2]int{first, size - 1}), append(specs, fmt.Sprintf("%d-", first))
			case 1:
				asked, specs = append(asked, [2]int{max(size-length, 0), size - 1}), append(specs, fmt.Sprintf("-%d", length))
			case 2:
				specs = append(specs, "")
			default:
				asked, specs = append(asked, [2]int{first, first + length}), append(specs, fmt.Sprintf(" %d-%d ", first, first+length))
			}
		}
		header := "bytes=" + strings.Join(specs, ",")
		answer, body, err := ask(t, client, http.MethodGet, server.URL+testPrefix+path, http.Header{"Range": {header}})
		if err != nil {
			t.Fatal(err)
		}
		wanted := len(asked)
		if size > 1000 {
			asked = asked[:min(len(asked), 0)] // the reference would take too long
		}
		want := reference(asked, size)
		switch {
		case wanted == 0:
			if answer.StatusCode != http.StatusOK || !bytes.Equal(body, b) {
				t.Errorf("%q of %d: %s", header, size, answer.Status)
			}
		case size > 1000:
			if of, _, _ := mime.ParseMediaType(answer.Header.Get("Content-Type")); of == "multipart/byteranges" {
				piecesOf(t, answer, body, b, mediaType)
			}
		case len(want) == 0:
			if answer.StatusCode != http.StatusRequestedRangeNotSatisfiable || answer.Header.Get("Content-Range") != fmt.Sprintf("bytes */%d", size) {
				t.Errorf("%q of %d: %s", header, size, answer.Status)
			}
		case len(want) == 1:
			from, to := want[0][0], want[0][1]
			if got := answer.Header.Get("Content-Range"); answer.StatusCode != http.StatusPartialContent || got != fmt.Sprintf("bytes %d-%d/%d", from, to, size) || !bytes.Equal(body, b[from:to+1]) {
				t.Errorf("%q of %d: %s with %q, want %v", header, size, answer.Status, got, want)
			}
			wantHeader(t, answer, http.Header{"Content-Type": {mediaType}})
		default:
			if got := piecesOf(t, answer, body, b, mediaType); !slices.Equal(got, want) {
				t.Errorf("%q of %d: parts %v, want %v", header, size, got, want)
			}
		}
	}
}

// Lists as clients send them get a part for each range; others the whole.
func TestRangeListsAreBounded(t *testing.T) {
	t.Parallel()
	b := testBytes(400_000)
	file, following := fileBlob(t, b), fillBlob(b, 9_999, 0, nil)
	d := oci.Sum(b).String()
	list := func(n, step, length int) string {
		specs := make([]string, n)
		for i := range specs {
			specs[i] = fmt.Sprintf("%d-%d", i*step, i*step+length-1)
		}
		return "bytes=" + strings.Join(specs, ",")
	}
	for _, h2 := range []bool{false, true} {
		m := &fakeMirror{manifest: testManifest(b)}
		server, client := serve(t, New(options(m)), h2)
		for _, test := range []struct {
			name, header, ifRange string
			parts                 int // 0 = the whole
		}{
			{"two", "bytes=0-9,390000-399999", "", 2},
			{"large", "bytes=100000-299999,300001-", "", 2},
			{"backwards", "bytes=300000-,100-200,5-6", "", 3},
			{"neighbours", list(100, 50, 50), "", 100},
			{"as many as there may be", list(maxParts, 100, 60), "", maxParts},
			{"too many", list(maxParts+1, 100, 60), "", 0},
			{"many that overlap", list(maxOverlapping, 5, 4) + ",0-1", "", 0},
			{"some that overlap", "bytes=0-9,5-14,100-199,200-299", "", 3},
			{"the same again and again", "bytes=" + strings.Repeat("0-,", 10_000) + "0-", "", 0},
			{"nothing again and again", "bytes=0-1,4-5" + strings.Repeat(",", 10_000), "", 2},
			{"unchanged", "bytes=0-1,4-5", `"` + d + `"`, 2},
			{"changed", "bytes=0-1,4-5", `"sha256:other"`, 0},
		} {
			for name, blob := range map[string]func(context.Context) oci.Blob{"file": file, "under way": following, "manifest": nil} {
				t.Run(fmt.Sprintf("h2=%t/%s/%s", h2, test.name, name), func(t *testing.T) {
					m.blob = blob
					path, mediaType := "/blobs/"+d, oci.MediaTypeOctetStream
					if blob == nil {
						path, mediaType = "/manifests/"+d, m.manifest.MediaType
					}
					header := http.Header{"Range": {test.header}}
					if test.ifRange != "" {
						header.Set("If-Range", test.ifRange)
					}
					answer, body, err := ask(t, client, http.MethodGet, server.URL+testPrefix+path, header)
					if err != nil {
						t.Fatal(err)
					}
					wantHeader(t, answer, http.Header{"Docker-Content-Digest": {d}, "Etag": {`"` + d + `"`}, "Cache-Control": {cacheForever}})
					if test.parts == 0 {
						if answer.StatusCode != http.StatusOK || !bytes.Equal(body, b) || answer.Header.Get("Content-Type") != mediaType {
							t.Errorf("got %s with %d bytes", answer.Status, len(body))
						}
						return
					}
					if got := piecesOf(t, answer, body, b, mediaType); len(got) != test.parts || len(body) > len(b)+300*(test.parts+1) {
						t.Errorf("got %d parts in %d bytes, want %d", len(got), len(body), test.parts)
					}
					answer, body, err = ask(t, client, http.MethodHead, server.URL+testPrefix+path, header)
					if err != nil || answer.StatusCode != http.StatusOK || len(body) != 0 || answer.ContentLength != int64(len(b)) {
						t.Errorf("HEAD: %v, %v", answer, err)
					}
				})
			}
		}
	}
}

// Parts that cannot be completed are a cut connection, whatever has gone out; and
// an error with its reason if nothing has.
func TestCutParts(t *testing.T) {
	t.Parallel()
	b := testBytes(300_000)
	short := fileBlob(t, b[:250_000])
	for _, h2 := range []bool{false, true} {
		for _, test := range []struct {
			name, header string
			blob         func(context.Context) oci.Blob
			status       int // 0 = cut
		}{
			{"in the first part", "bytes=0-99999,200000-", fillBlob(b, 10_000, 50_000, errors.New("digest mismatch")), 0},
			{"between parts", "bytes=0-49999,200000-", fillBlob(b, 10_000, 50_000, errors.New("digest mismatch")), 0},
			{"in the last part", "bytes=0-9,200000-", fillBlob(b, 10_000, 299_999, io.ErrUnexpectedEOF), 0},
			{"an end before the end", "bytes=0-9,200000-", fillBlob(b, 10_000, 299_999, io.EOF), 0},
			{"before the first byte", "bytes=60000-60009,200000-", fillBlob(b, 10_000, 50_000, errors.New("digest mismatch")), 502},
			{"a file that is too short", "bytes=0-9,200000-", func(ctx context.Context) oci.Blob {
				blob := short(ctx)
				blob.Size = int64(len(b))
				return blob
			}, 502},
		} {
			t.Run(fmt.Sprintf("h2=%t/%s", h2, test.name), func(t *testing.T) {
				done := make(chan Answer, 1)
				o := options(&fakeMirror{blob: test.blob})
				o.OnDone = func(_ *http.Request, a *Answer) { done <- *a }
				server, client := serve(t, New(o), h2)
				answer, body, err := ask(t, client, http.MethodGet, server.URL+testPrefix+"/blobs/"+testDigest.String(), http.Header{"Range": {test.header}})
				a := <-done
				if test.status != 0 {
					if err != nil || answer.StatusCode != test.status || a.Aborted {
						t.Fatalf("got %v, %v, want %d", answer, err, test.status)
					}
					checkDocument(t, answer, body, oci.CodeUnavailable)
					return
				}
				if err == nil || !a.Aborted || a.Err == nil || a.Status != http.StatusPartialContent {
					t.Errorf("%d bytes end with %v; answer is %+v", len(body), err, a)
				}
			})
		}
	}
}

// The body is the same however it is read, and its length is known before.
func TestMultipartReader(t *testing.T) {
	t.Parallel()
	b := testBytes(1000)
	of := testManifest(b).Descriptor()
	for _, parts := range [][]span{
		{{0, 1, true}, {999, 1, true}},
		{{500, 500, true}, {0, 500, true}},
		{{0, 10, true}, {10, 10, true}, {20, 10, true}},
	} {
		want, err := io.ReadAll(newMultipart(bytes.NewReader(b), parts, of))
		if err != nil {
			t.Fatal(err)
		}
		if err := iotest.TestReader(newMultipart(bytes.NewReader(b), parts, of), want); err != nil {
			t.Error(err)
		}
		if err := iotest.TestReader(newMultipart(&fill{Reader: bytes.NewReader(b), piece: 3}, parts, of), want); err != nil {
			t.Error(err)
		}
		if n := newMultipart(nil, parts, of).length(); n != int64(len(want)) {
			t.Errorf("%v: %d bytes, told %d", parts, len(want), n)
		}
	}
	of.Digest = digest.SHA512.FromBytes(b)
	if m := newMultipart(nil, nil, of); len(m.boundary) > 70 { // RFC 2046, section 5.1.1
		t.Errorf("boundary is %q", m.boundary)
	}
}
