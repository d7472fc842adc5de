package api

import (
	"encoding/json"
	"reflect"
)

// JSON writes v in the one form that the API has on every side: arrays and
// maps are never null. It fills the empty ones in, in place where v reaches
// them by pointer, slice or map; v should be the caller's own copy.
func JSON(v any) ([]byte, error) {
	if v == nil {
		return []byte("null"), nil
	}
	box := reflect.New(reflect.TypeOf(v)).Elem()
	box.Set(reflect.ValueOf(v))
	fill(box)
	return json.Marshal(box.Addr().Interface())
}

// fill replaces nil slices and maps in v, which can be set. Types that write
// their own JSON are left alone.
func fill(v reflect.Value) {
	if _, own := v.Addr().Interface().(json.Marshaler); own {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			fill(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i))
			}
		}
	case reflect.Slice:
		if v.IsNil() {
			v.Set(reflect.MakeSlice(v.Type(), 0, 0))
		}
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return
		}
		for i := range v.Len() {
			fill(v.Index(i))
		}
	case reflect.Map:
		if v.IsNil() {
			v.Set(reflect.MakeMap(v.Type()))
		}
		if !holdsMore(v.Type().Elem().Kind()) {
			return // not written to, since others may read it now
		}
		for _, key := range v.MapKeys() {
			value := reflect.New(v.Type().Elem()).Elem()
			value.Set(v.MapIndex(key))
			fill(value)
			v.SetMapIndex(key, value)
		}
	}
}

// holdsMore reports whether there may be something to fill in inside a value
// of this kind.
func holdsMore(k reflect.Kind) bool {
	switch k {
	case reflect.Pointer, reflect.Struct, reflect.Slice, reflect.Map, reflect.Interface:
		return true
	}
	return false
}
