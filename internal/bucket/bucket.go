// Package bucket says what a bucket of an S3 server is for those who keep objects there.
// Package s3client has the client, so that a binary without it needs no SDK.
package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// Options say which bucket to open, and as whom. They are comparable.
type Options struct {
	// URL is https://host[:port]/bucket[/prefix].
	URL string
	// AccessKey and SecretKey say who asks; empty = whoever the AWS SDK finds in its usual
	// places.
	AccessKey, SecretKey string
	// Region is what requests are signed for; empty = what the host of the URL names, or
	// else us-east-1.
	Region string
	// PartSize has larger objects written in parts of so many bytes; 0 = only what S3 does
	// not take in one request, in parts of 64 MiB or more.
	PartSize int64
}

// DefaultRegion is what servers sign for that know no regions.
const DefaultRegion = "us-east-1"

// regionalHost is an endpoint of AWS (AWS General Reference, "Amazon S3 endpoints and
// quotas").
var regionalHost = regexp.MustCompile(`^s3[.-](?:fips\.|dualstack\.)*([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?$`)

// Place is where a URL leads: a bucket of a server, and the prefix of its keys, which
// ends in a slash if it is not empty.
type Place struct{ Endpoint, Bucket, Prefix, Region string }

// CheckEndpoint refuses what is no URL of a server alone.
func CheckEndpoint(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.User != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("it is no URL of a server: want such as https://s3.example.com, without a bucket")
	}
	return nil
}

// ParseURL returns where a URL leads. A text that may hold a password does not get into
// the error.
func ParseURL(s string) (Place, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return Place{}, errors.New("the URL of the bucket cannot be parsed: want https://host/bucket or https://host/bucket/prefix")
	case u.User != nil:
		return Place{}, errors.New("the URL of the bucket holds a user name: put the keys into the option credentials")
	case u.Scheme != "https" && u.Scheme != "http", u.Hostname() == "", u.RawQuery != "", u.Fragment != "":
		return Place{}, fmt.Errorf("%q is no URL of a bucket: want https://host/bucket or https://host/bucket/prefix", s)
	}
	p := Place{Endpoint: u.Scheme + "://" + u.Host, Region: DefaultRegion}
	p.Bucket, p.Prefix, _ = strings.Cut(strings.Trim(u.Path, "/"), "/")
	if p.Bucket == "" {
		return Place{}, fmt.Errorf("%q names no bucket: want %s/<bucket>", s, p.Endpoint)
	}
	if p.Prefix != "" {
		p.Prefix += "/"
	}
	if m := regionalHost.FindStringSubmatch(u.Hostname()); m != nil {
		p.Region = m[1]
	}
	return p, nil
}

// Objects is where objects lie. Its methods are safe for concurrent use; none tries
// twice. What is absent is fs.ErrNotExist, except the bucket itself; a Head cannot tell
// the two apart.
type Objects interface {
	// Get reads an object from an offset on; a length of -1 = to its end.
	Get(ctx context.Context, key string, offset, length int64) (Object, error)
	Head(ctx context.Context, key string) (Info, error)
	// Put writes an object of size bytes.
	Put(ctx context.Context, key string, content io.ReadSeeker, size int64, o PutOptions) error
	Delete(ctx context.Context, key string) error
	// List returns the objects whose keys begin with a prefix and follow after, in order.
	List(ctx context.Context, prefix, after string) iter.Seq2[Info, error]
}

// Bucket is an open bucket.
type Bucket interface {
	Objects

	// Presign returns a URL at which anybody may get an object for a while, of a server
	// that has an endpoint; empty = that of the bucket's URL. It asks nobody, except who
	// it is that asks.
	Presign(ctx context.Context, key, endpoint string, lasting time.Duration) (string, error)
	// Close closes the connections that nobody uses.
	Close()
}

// Info is what is known of an object. What a server does not tell, or not in a list, is
// the zero value.
type Info struct {
	Key         string
	Size        int64
	ETag        string
	ContentType string
	Modified    time.Time
	Meta        map[string]string
}

// Object is an object that is read: the whole, or a part that begins at Offset. Size is
// that of the whole.
type Object struct {
	io.ReadCloser
	Info

	Offset int64
}

// PutOptions say more of an object that is written.
type PutOptions struct {
	// SHA256 is the hash of the content in hexadecimal; empty = it is computed.
	SHA256      string
	ContentType string
	Meta        map[string]string
	// IfAbsent writes only where there is nothing, and IfMatch only over what has this
	// ETag, as far as the server heeds it: else it is ErrChanged.
	IfAbsent bool
	IfMatch  string
}

// ErrChanged means that there is another object than a request was for.
var ErrChanged = errors.New("there is another object")

// ErrRefused means that the server does not take an object, such as since its bytes are not
// what was announced. It takes others.
var ErrRefused = errors.New("the server does not take the object")
