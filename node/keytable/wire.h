/* Replies written in place, integers read and written, hash slots of keys.
 *
 * A reply goes straight into the buffer of librt's BytesWriter. Its layout and its function for making room are part
 * of what librt calls ABI 1; anything else is refused at import.
 */
#ifndef KT_WIRE_H
#define KT_WIRE_H

#include <Python.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "slab.h"

typedef struct {
    PyObject_HEAD
    char *buf;
    Py_ssize_t len;
    Py_ssize_t capacity;
} kt_writer;

static bool (*kt_writer_grow)(void *writer, Py_ssize_t more);
static PyTypeObject *kt_writer_type;

/* Find librt's functions. Returns -1 with an exception set when they are not those that this was written for. */
static int kt_import_writer(void) {
    PyObject *module = PyImport_ImportModule("librt.strings");
    if (!module) return -1;
    Py_DECREF(module);
    void **api = PyCapsule_Import("librt.strings._C_API", 0);
    if (!api) return -1;
    int abi = ((int (*)(void))api[0])();
    if (abi != 1) {
        PyErr_Format(PyExc_ImportError, "librt.strings has ABI %d, the key table was written for 1", abi);
        return -1;
    }
    kt_writer_grow = (bool (*)(void *, Py_ssize_t))api[5];
    kt_writer_type = ((PyTypeObject * (*)(void)) api[6])();
    if (kt_writer_type->tp_basicsize < (Py_ssize_t)sizeof(kt_writer)) {
        PyErr_SetString(PyExc_ImportError, "librt's BytesWriter is smaller than the key table thinks");
        return -1;
    }
    return 0;
}

static inline bool kt_is_writer(PyObject *w) { return Py_TYPE(w) == kt_writer_type; }

/* Have place for `more` bytes; false with MemoryError set. */
static inline bool kt_room(kt_writer *w, Py_ssize_t more) {
    return w->capacity - w->len >= more || kt_writer_grow(w, more);
}

/* The digits of a number, ending before `end`; returns where they begin. Up to 20 bytes. */
static inline char *kt_digits(char *end, int64_t value) {
    uint64_t left = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do *--end = (char)('0' + left % 10);
    while (left /= 10);
    if (value < 0) *--end = '-';
    return end;
}

static bool kt_write_bulk(PyObject *writer, const char *data, size_t len) {
    kt_writer *w = (kt_writer *)writer;
    if (!kt_room(w, (Py_ssize_t)len + 32)) return false;
    char *p = w->buf + w->len;
    *p++ = '$';
    char number[24], *from = kt_digits(number + 24, (int64_t)len);
    memcpy(p, from, (size_t)(number + 24 - from));
    p += number + 24 - from;
    *p++ = '\r';
    *p++ = '\n';
    memcpy(p, data, len);
    p += len;
    *p++ = '\r';
    *p++ = '\n';
    w->len = p - w->buf;
    return true;
}

static bool kt_write_integer(PyObject *writer, const char *digits, size_t len) {
    kt_writer *w = (kt_writer *)writer;
    if (!kt_room(w, (Py_ssize_t)len + 8)) return false;
    char *p = w->buf + w->len;
    *p++ = ':';
    memcpy(p, digits, len);
    p += len;
    *p++ = '\r';
    *p++ = '\n';
    w->len = p - w->buf;
    return true;
}

/* The integer that the bytes are, in the one form that is accepted: no sign +, no leading zero, no -0. */
static bool kt_parse(const uint8_t *data, size_t len, int64_t *value) {
    if (len == 0 || len > 20) return false;
    bool negative = data[0] == '-';
    size_t i = negative;
    if (i == len) return false;
    if (data[i] == '0') {
        *value = 0;
        return len == 1;
    }
    uint64_t sum = 0;
    for (; i < len; i++) {
        unsigned digit = (unsigned)data[i] - '0';
        if (digit > 9 || sum > (UINT64_MAX - digit) / 10) return false;
        sum = sum * 10 + digit;
    }
    if (sum > (uint64_t)INT64_MAX + negative) return false;
    *value = negative ? (int64_t)(0 - sum) : (int64_t)sum;
    return true;
}

/* Make a bytes object longer, in place where it can be. Nobody else may refer to it. As _PyBytes_Resize, but when memory
 * is short the object stays as it was. */
static bool kt_stretch(PyObject **text, Py_ssize_t size) {
    PyBytesObject *b = (PyBytesObject *)*text;
    assert(Py_REFCNT(b) == 1 && size >= Py_SIZE(b) && Py_SIZE(b) > 1);
    if (size != Py_SIZE(b)) {
        b = kt_fails() ? NULL : PyObject_Realloc(b, offsetof(PyBytesObject, ob_sval) + 1 + (size_t)size);
        if (!b) return false;
        Py_SET_SIZE(b, size);
        b->ob_sval[size] = 0;
        *text = (PyObject *)b;
    }
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    b->ob_shash = -1; /* it is another string now */
#pragma GCC diagnostic pop
    return true;
}

/* --- hash slots: CRC16 (XMODEM) of the key, or of its first non-empty {hash tag} */
static uint16_t kt_crc[256], kt_crc_far[256]; /* of a byte, and of one that another follows */

static void kt_make_crc(void) {
    for (unsigned byte = 0; byte < 256; byte++) {
        unsigned crc = byte << 8;
        for (int bit = 0; bit < 8; bit++) crc = (crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1) & 0xffff;
        kt_crc[byte] = (uint16_t)crc;
    }
    for (unsigned byte = 0; byte < 256; byte++)
        kt_crc_far[byte] = (uint16_t)(kt_crc[byte] << 8 ^ kt_crc[kt_crc[byte] >> 8]);
}

static uint32_t kt_slot_of(const char *key, size_t len) {
    const char *open = memchr(key, '{', len);
    if (open) {
        const char *from = open + 1, *close = memchr(from, '}', len - (size_t)(from - key));
        if (close && close > from) {
            key = from;
            len = (size_t)(close - from);
        }
    }
    unsigned crc = 0;
    size_t i = 0;
    for (; i + 1 < len; i += 2) { /* two loads that don't wait for each other */
        unsigned pair = crc ^ ((unsigned)(uint8_t)key[i] << 8 | (uint8_t)key[i + 1]);
        crc = kt_crc_far[pair >> 8] ^ kt_crc[pair & 255];
    }
    if (i < len) crc = (crc << 8 ^ kt_crc[(crc >> 8 ^ (uint8_t)key[i]) & 255]) & 0xffff;
    return crc & 16383;
}
#endif
