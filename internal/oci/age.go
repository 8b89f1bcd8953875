package oci

import "time"

// annotationAge is where a descriptor tells its age. It is none of a manifest's.
const annotationAge = "pullgate.age"

// Aged returns a descriptor that tells how long ago a registry has said that a tag means
// it; see AgeOf.
func Aged(d Descriptor, age time.Duration) Descriptor {
	d.Annotations = map[string]string{annotationAge: age.String()}
	return d
}

// AgeOf returns how long ago a registry has said that a tag means a descriptor: 0, unless
// another gateway has passed it on.
func AgeOf(d Descriptor) time.Duration {
	told, ok := d.Annotations[annotationAge]
	if !ok {
		return 0
	}
	age, err := time.ParseDuration(told)
	if err != nil {
		return 0
	}
	return max(age, 0)
}
