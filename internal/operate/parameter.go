package operate

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/pullgate/pullgate/internal/oci"
)

// Parameters are the parts of a request that go into a query, by their names. What is
// read and what is written stands here once.
type Parameters map[string]parameter

type parameter struct {
	read  func(value string) error
	write func() string // empty = the default, which is left out
}

// Encode returns the query of a request.
func (p Parameters) Encode() string {
	query := url.Values{}
	for name, parameter := range p {
		if value := parameter.write(); value != "" {
			query.Set(name, value)
		}
	}
	return query.Encode()
}

// Decode reads a query. A parameter that is not known may be misspelt, and forbid
// something.
func (p Parameters) Decode(raw string) error {
	query, err := url.ParseQuery(raw)
	if err != nil {
		return refuse(http.StatusBadRequest, err)
	}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		if known, ok := p[name]; ok {
			err = known.read(query.Get(name))
		} else {
			err = fmt.Errorf("not a parameter: want %s", alternatives(slices.Sorted(maps.Keys(p))))
		}
		if err != nil {
			return refuse(http.StatusBadRequest, fmt.Errorf("%s: %w", name, err))
		}
	}
	return nil
}

func alternatives(names []string) string {
	last := len(names) - 1
	if last == 0 {
		return names[0]
	}
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

// flag is a parameter that is 1 or 0.
func flag(to *bool) parameter {
	return parameter{func(value string) (err error) {
		if *to, err = strconv.ParseBool(value); err != nil {
			err = fmt.Errorf("%q is neither 1 nor 0", value)
		}
		return err
	}, func() string {
		if *to {
			return "1"
		}
		return ""
	}}
}

// text is a parameter that is used as it is.
func text(to *string) parameter {
	return parameter{func(value string) error {
		*to = value
		return nil
	}, func() string { return *to }}
}

// rate is a number of bytes per second. Programs need no unit.
func rate(to *int64) parameter {
	return parameter{func(value string) (err error) {
		if *to, err = strconv.ParseInt(value, 10, 64); err != nil || *to < 0 {
			*to, err = ParseRate(value)
		}
		return err
	}, func() string {
		if *to == 0 {
			return ""
		}
		return strconv.FormatInt(*to, 10)
	}}
}

func selection(to *oci.Selection) parameter {
	return parameter{func(value string) (err error) {
		if value != "" {
			*to, err = oci.ParseSelection(value)
		}
		return err
	}, func() string { return to.String() }}
}

// RealPath returns the path by which an open store is known, or would be.
func RealPath(path string) string {
	if absolute, err := filepath.Abs(path); err == nil {
		path = absolute
	}
	if followed, err := filepath.EvalSymlinks(path); err == nil {
		path = followed
	}
	return path
}
