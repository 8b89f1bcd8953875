//go:build integration

package integration

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"

	"github.com/pullgate/pullgate/internal/registrytest"
)

// rangeCase is a Range header and what it selects of content of a size.
type rangeCase struct {
	header string
	want   func(size int) (status, start, end int)
}

func whole(size int) (int, int, int)    { return http.StatusOK, 0, size }
func unsatisfiable(int) (int, int, int) { return http.StatusRequestedRangeNotSatisfiable, 0, 0 }
func partial(start, end int) func(int) (int, int, int) {
	return func(size int) (int, int, int) { return http.StatusPartialContent, start, min(end, size) }
}

// rangeCases are for content of at least 200 bytes.
func rangeCases(size int) []rangeCase {
	return []rangeCase{
		{"", whole},
		{"bytes=0-", partial(0, size)},
		{fmt.Sprintf("bytes=%d-", size/2), partial(size/2, size)},
		{fmt.Sprintf("bytes=%d-", size-1), partial(size-1, size)},
		{"bytes=0-0", partial(0, 1)},
		{"bytes=10-99", partial(10, 100)},
		{fmt.Sprintf("bytes=%d-%d", size/3, size/3+99), partial(size/3, size/3+100)},
		{"bytes=-1", partial(size-1, size)},
		{"bytes=-100", partial(size-100, size)},
		{fmt.Sprintf("bytes=-%d", 2*size), partial(0, size)},
		{fmt.Sprintf("bytes=100-%d", size), partial(100, size)},
		{fmt.Sprintf("bytes=100-%d", 10*size), partial(100, size)},
		{fmt.Sprintf("bytes=%d-", size), unsatisfiable},
		{fmt.Sprintf("bytes=%d-%d", size, size+5), unsatisfiable},
		{"bytes=99999999999999999999-", unsatisfiable},
		{"bytes=-0", unsatisfiable},
		{"bytes=9-3", unsatisfiable},
		{"bytes=a-b", whole},
		{"bytes=", whole},
		{"bytes", whole},
		{"items=0-5", whole},
		{"bytes=0-5,3-15", partial(0, 16)},
		{"bytes=0-5,99999999999999999999-", partial(0, 6)},
		{"bytes=99999999999999999999-,-0", unsatisfiable},
		{"bytes=" + strings.TrimSuffix(strings.Repeat("0-1,", 1000), ","), whole},
	}
}

// TestRanges asks for every form of a range, while the blob is cold, while it is
// being filled and when it is cached, of a manifest, and of nothing.
func TestRanges(t *testing.T) {
	const size = 24 << 20
	u := bearerRegistry{Server: registrytest.New(t, registrytest.Options{CDN: true})}
	u.lines = "url " + u.URL()
	g := startGateway(t, plain, u)
	content := registrytest.Random(1, size)
	blobs := g.url() + "/v2/proxy-docker.io/library/ranges/blobs/"

	t.Run("cold", func(t *testing.T) {
		for n, c := range rangeCases(size / 8) {
			cold := registrytest.Random(uint64(100+n), size/8)
			d := u.PutBlob("library/ranges", cold)
			checkRange(t, blobs+d.String(), c, cold)
		}
		cold := registrytest.Random(99, size/8)
		checkParts(t, blobs+u.PutBlob("library/ranges", cold).String(), cold, size/8-10, 100, size/16)
	})
	t.Run("filling", func(t *testing.T) {
		d := u.PutBlob("library/ranges", content)
		halfway := newGate(size / 2)
		defer halfway.lift()
		u.Hook(halfway.hook)
		defer func() { u.Hook(nil) }()
		first := openBlob(t, blobs+d.String())
		if _, err := io.CopyN(io.Discard, first.Body, 1<<20); err != nil {
			t.Fatal(err)
		}
		// What lies within the first half is answered now; the rest while it comes.
		checkParts(t, blobs+d.String(), content, size/4, 0, 1000)
		for _, c := range rangeCases(size) {
			if _, start, end := c.want(size); start < end && end <= size/2-1<<20 {
				checkRange(t, blobs+d.String(), c, content)
			}
		}
		var asked []func()
		for _, c := range rangeCases(size) {
			done := make(chan struct{})
			go func() {
				defer close(done)
				checkRange(t, blobs+d.String(), c, content)
			}()
			asked = append(asked, func() { <-done })
		}
		parts := make(chan struct{})
		go func() {
			defer close(parts)
			checkParts(t, blobs+d.String(), content, size-10, 0, size/2-5, size*3/4)
		}()
		asked = append(asked, func() { <-parts })
		halfway.lift()
		for _, wait := range asked {
			wait()
		}
	})
	t.Run("cached", func(t *testing.T) {
		d := u.PutBlob("library/ranges", content)
		checkRange(t, blobs+d.String(), rangeCase{"", whole}, content)
		u.reset()
		for _, c := range rangeCases(size) {
			checkRange(t, blobs+d.String(), c, content)
		}
		checkParts(t, blobs+d.String(), content, size-10, 0, 10, size/2)
		assertCount(t, "cached: any request", u.total(), 0)
	})
	t.Run("manifest", func(t *testing.T) {
		image := u.PutImage("library/ranges", "1", 7, 1000)
		url := g.url() + "/v2/proxy-docker.io/library/ranges/manifests/"
		for _, reference := range []string{"1", image.Index.Digest.String()} {
			for _, c := range rangeCases(len(image.IndexBytes)) {
				checkRange(t, url+reference, c, image.IndexBytes)
			}
		}
	})
	t.Run("nothing", func(t *testing.T) {
		d := u.PutBlob("library/ranges", nil)
		for range 2 { // cold, then cached
			checkRange(t, blobs+d.String(), rangeCase{"bytes=0-", whole}, nil)
			checkRange(t, blobs+d.String(), rangeCase{"", whole}, nil)
		}
	})
}

func checkRange(t *testing.T, url string, c rangeCase, content []byte) {
	t.Helper()
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		status, start, end := c.want(len(content))
		if method == http.MethodHead { // which has no ranges
			status, start, end = http.StatusOK, 0, len(content)
		}
		request, err := http.NewRequestWithContext(t.Context(), method, url, nil)
		if err != nil {
			t.Error(err)
			return
		}
		if c.header != "" {
			request.Header.Set("Range", c.header)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Errorf("%s %.40s: %v", method, c.header, err)
			return
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != status {
			t.Errorf("%s %.40s: %s, %v; want %d", method, c.header, response.Status, err, status)
			continue
		}
		contentRange, length := "", int64(end-start)
		switch status {
		case http.StatusPartialContent:
			contentRange = fmt.Sprintf("bytes %d-%d/%d", start, end-1, len(content))
		case http.StatusRequestedRangeNotSatisfiable:
			contentRange, length = fmt.Sprintf("bytes */%d", len(content)), response.ContentLength
		}
		if got := response.Header.Get("Content-Range"); got != contentRange {
			t.Errorf("%s %.40s: Content-Range %q, want %q", method, c.header, got, contentRange)
		}
		if response.ContentLength != length {
			t.Errorf("%s %.40s: Content-Length %d, want %d", method, c.header, response.ContentLength, length)
		}
		if method == http.MethodGet && status < 300 && !bytes.Equal(body, content[start:end]) {
			t.Errorf("%s %.40s: wrong bytes", method, c.header)
		}
	}
}

// checkParts asks for ten bytes at each offset in one request.
func checkParts(t *testing.T, url string, content []byte, offsets ...int) {
	t.Helper()
	specs := make([]string, len(offsets))
	for i, at := range offsets {
		specs[i] = fmt.Sprintf("%d-%d", at, at+9)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Error(err)
		return
	}
	request.Header.Set("Range", "bytes="+strings.Join(specs, ", "))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Error(err)
		return
	}
	defer response.Body.Close()
	_, parameters, err := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if err != nil || response.StatusCode != http.StatusPartialContent {
		t.Errorf("%s: %s, %v", specs, response.Status, err)
		return
	}
	reader := multipart.NewReader(response.Body, parameters["boundary"])
	for _, at := range offsets {
		part, err := reader.NextPart()
		if err != nil {
			t.Errorf("%s: %v", specs, err)
			return
		}
		got, err := io.ReadAll(part)
		if want := fmt.Sprintf("bytes %d-%d/%d", at, at+9, len(content)); err != nil || !bytes.Equal(got, content[at:at+10]) || part.Header.Get("Content-Range") != want {
			t.Errorf("%s: part %v is %q, %v; want %s", specs, part.Header, got, err, want)
		}
	}
	if _, err := reader.NextPart(); err != io.EOF {
		t.Errorf("%s: after the last part: %v", specs, err)
	}
}
