package config

import (
	"errors"
	"fmt"

	"github.com/pullgate/pullgate/internal/bucket"
	"github.com/pullgate/pullgate/internal/operate"
)

// large is how many bytes a blob has for which a client is sent to the bucket: at 1 Gbit/s,
// what another connection costs is lost in them.
const large = 64 << 20

// Redirect has clients get large blobs from the bucket that their gateway does not have:
// with a 307 to a URL that is good for two minutes. Only what everybody may have is
// redirected: blobs of upstreams without credentials, access or isolate.
type Redirect struct {
	// How many bytes a blob has at the least. Default: 64 MiB.
	MinSize int64 `json:"min_size,omitempty"`

	// Where clients reach the S3 server, if that is not where gateways do, such as
	// https://s3.example.com. Default: the one of the bucket's URL.
	Endpoint string `json:"endpoint,omitempty"`
}

func (r *Redirect) check() error {
	switch {
	case r == nil:
		return nil
	case r.MinSize < 0:
		return errors.New("redirect: min_size cannot be negative; leave it out to have its default")
	case r.Endpoint != "":
		if err := bucket.CheckEndpoint(r.Endpoint); err != nil {
			return fmt.Errorf("redirect: %q: %w", r.Endpoint, err)
		}
	}
	return nil
}

// Least returns how many bytes a blob has at the least.
func (r *Redirect) Least() int64 {
	if r.MinSize == 0 {
		return large
	}
	return r.MinSize
}

// parse reads the arguments of the option.
func (r *Redirect) parse(args []string) (err error) {
	if args[0] != "large" {
		if r.MinSize, err = operate.ParseSize(args[0]); err != nil {
			return fmt.Errorf("redirect: %w; or large", err)
		}
	}
	if len(args) > 1 {
		r.Endpoint = args[1]
	}
	return r.check()
}
