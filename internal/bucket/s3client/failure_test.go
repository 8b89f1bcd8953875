package s3client

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/bucket"
)

// Answers that are no success tell what to do, and which are due to one object alone.
func TestFailuresTellWhatToDo(t *testing.T) {
	t.Parallel()
	s, b := newServer(t)
	for _, c := range []struct {
		status int
		code   string
		want   string
		is     error
	}{
		{403, "SignatureDoesNotMatch", "the secret key is wrong, or the region", nil},
		{403, "InvalidAccessKeyId", "it does not know the access key", nil},
		{403, "RequestTimeTooSkewed", "the clock of this machine and its own differ", nil},
		{403, "AccessDenied", "may not list objects", nil},
		{503, "SlowDown", "the server answers 503 SlowDown: no", nil},
		{301, "PermanentRedirect", "the bucket is at another address", nil},
		{400, "XAmzContentSHA256Mismatch", "", bucket.ErrRefused},
		{400, "EntityTooLarge", "", bucket.ErrRefused},
		{404, "NoSuchBucket", "there is no such bucket", nil},
		{404, "NoSuchKey", "", fs.ErrNotExist},
		{412, "PreconditionFailed", "", bucket.ErrChanged},
		{409, "ConditionalRequestConflict", "", bucket.ErrChanged},
	} {
		s.Hook(func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) {
			w.Header().Set("Location", "http://192.0.2.1/elsewhere")
			w.WriteHeader(c.status)
			fmt.Fprintf(w, "<Error><Code>%s</Code><Message>no</Message></Error>", c.code)
		})
		_, err := b.Get(t.Context(), "a", 0, -1)
		if err == nil || !strings.Contains(err.Error(), c.want) || c.is != nil && !errors.Is(err, c.is) || len(err.Error()) > 200 {
			t.Errorf("%d %s: %v", c.status, c.code, err)
		}
		for _, known := range []error{fs.ErrNotExist, bucket.ErrChanged, bucket.ErrRefused} {
			if errors.Is(err, known) && !errors.Is(known, c.is) {
				t.Errorf("%d %s is %v", c.status, c.code, known)
			}
		}
	}
}

// Bytes that are not what was announced are refused, and the list of a server that does not
// get on comes to an end.
func TestServersThatDoNotGetOn(t *testing.T) {
	t.Parallel()
	s, b := newServer(t)
	err := b.Put(t.Context(), "a", bytes.NewReader([]byte("short")), 5, bucket.PutOptions{SHA256: hashOf("other")})
	if !errors.Is(err, bucket.ErrRefused) || len(s.Keys("cache")) > 0 {
		t.Errorf("wrong bytes: %v", err)
	}
	s.Hook(func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) {
		fmt.Fprintf(w, "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>same</NextContinuationToken>"+
			"<Contents><Key>prefix/a</Key><LastModified>%s</LastModified></Contents></ListBucketResult>", time.Now().Format(time.RFC3339))
	})
	n := 0
	for _, err = range b.List(t.Context(), "", "") {
		if n++; n > 10 {
			break
		}
	}
	if err == nil || n > 3 {
		t.Errorf("%d objects, %v", n, err)
	}
}
