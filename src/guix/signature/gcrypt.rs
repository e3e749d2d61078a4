//! The part of libgcrypt that signatures need. This is the only module with `unsafe` code. Guix
//! accepts every key and signature that libgcrypt accepts, and no Rust library supports all of
//! them.

#![expect(unsafe_code, reason = "libgcrypt is a C library")]

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::ptr::{self, NonNull};
use std::sync::OnceLock;

use super::SigningError;

/// `GCRYCTL_DISABLE_SECMEM` of `gcrypt.h`.
const DISABLE_SECMEM: c_int = 37;
/// `GCRYCTL_INITIALIZATION_FINISHED`.
const FINISHED: c_int = 38;
/// `GCRYCTL_INITIALIZATION_FINISHED_P`.
const IS_FINISHED: c_int = 39;
/// `GCRYSEXP_FMT_CANON`.
const CANONICAL: c_int = 1;
/// `GCRYSEXP_FMT_ADVANCED`.
const ADVANCED: c_int = 3;
/// `GPG_ERR_BAD_SIGNATURE`, in the lower 16 bits of an error.
const BAD_SIGNATURE: c_uint = 8;

/// `struct gcry_sexp`, which is opaque.
#[repr(C)]
struct Opaque {
    _private: [u8; 0],
}

type Pointer = *mut Opaque;

#[link(name = "gcrypt")]
unsafe extern "C" {
    fn gcry_check_version(wanted: *const c_char) -> *const c_char;
    fn gcry_control(command: c_int, ...) -> c_uint;
    fn gcry_strerror(error: c_uint) -> *const c_char;
    fn gcry_sexp_new(result: *mut Pointer, text: *const c_void, length: usize, detect: c_int) -> c_uint;
    fn gcry_sexp_release(sexp: Pointer);
    fn gcry_sexp_sprint(sexp: Pointer, mode: c_int, buffer: *mut c_void, size: usize) -> usize;
    fn gcry_sexp_find_token(list: Pointer, token: *const c_char, length: usize) -> Pointer;
    fn gcry_sexp_length(list: Pointer) -> c_int;
    fn gcry_sexp_nth(list: Pointer, number: c_int) -> Pointer;
    fn gcry_sexp_nth_data(list: Pointer, number: c_int, length: *mut usize) -> *const c_char;
    fn gcry_pk_genkey(result: *mut Pointer, parameters: Pointer) -> c_uint;
    fn gcry_pk_sign(result: *mut Pointer, data: Pointer, secret: Pointer) -> c_uint;
    fn gcry_pk_verify(signature: Pointer, data: Pointer, public: Pointer) -> c_uint;
}

/// An S-expression of libgcrypt. It may contain a secret key, so it has no `Debug`.
pub(super) struct Sexp(NonNull<Opaque>);

// SAFETY: libgcrypt never changes an S-expression once it is made, keeps nothing of it in
// thread-local storage, and is thread-safe after its initialisation.
unsafe impl Send for Sexp {}
// SAFETY: as above.
unsafe impl Sync for Sexp {}

impl Drop for Sexp {
    fn drop(&mut self) {
        // SAFETY: the pointer came from libgcrypt, and this is its only owner.
        unsafe { gcry_sexp_release(self.0.as_ptr()) }
    }
}

/// Initializes libgcrypt, once.
fn initialize() {
    static DONE: OnceLock<()> = OnceLock::new();
    DONE.get_or_init(|| {
        // SAFETY: the manual asks for these calls, in this order, before all others.
        unsafe {
            gcry_check_version(ptr::null());
            if gcry_control(IS_FINISHED, 0 as c_int) == 0 {
                gcry_control(DISABLE_SECMEM, 0 as c_int);
                gcry_control(FINISHED, 0 as c_int);
            }
        }
    });
}

/// Turns an error code into an error that names the operation.
fn check(what: &'static str, error: c_uint) -> Result<(), SigningError> {
    if error == 0 {
        return Ok(());
    }
    // SAFETY: the text is static, and ends with a zero.
    let reason = unsafe { CStr::from_ptr(gcry_strerror(error)) };
    Err(SigningError::Gcrypt { what, reason: reason.to_string_lossy().into_owned() })
}

impl Sexp {
    /// Reads an S-expression in any of libgcrypt's notations.
    pub(super) fn read(text: &[u8]) -> Result<Self, SigningError> {
        initialize();
        let what = "reading an S-expression";
        let mut result = ptr::null_mut();
        // For libgcrypt, a length of 0 means that the text ends with a zero byte.
        if text.is_empty() {
            return Err(SigningError::Gcrypt { what, reason: "the text is empty".to_owned() });
        }
        // SAFETY: it reads `length` bytes and copies what it wants to keep.
        let error = unsafe { gcry_sexp_new(&raw mut result, text.as_ptr().cast(), text.len(), 1) };
        check(what, error)?;
        Self::take(what, result)
    }

    /// Reads an S-expression in Guix's encoding: each byte is a character of Latin-1, encoded in
    /// UTF-8.
    pub(super) fn read_text(text: &[u8]) -> Result<Self, SigningError> {
        let characters = str::from_utf8(text).ok().map(str::chars);
        let bytes: Option<Vec<u8>> =
            characters.and_then(|all| all.map(|character| u8::try_from(character).ok()).collect());
        Self::read(bytes.as_deref().unwrap_or(text))
    }

    /// Takes ownership of a result of libgcrypt.
    fn take(what: &'static str, pointer: Pointer) -> Result<Self, SigningError> {
        let nothing = || SigningError::Gcrypt { what, reason: "it is empty".to_owned() };
        NonNull::new(pointer).map(Self).ok_or_else(nothing)
    }

    /// Prints it as Guix does, in many lines, for people. libgcrypt writes numbers as strings in
    /// which most bytes happen to be characters of Latin-1.
    pub(super) fn print(&self) -> String {
        self.print_as(ADVANCED).into_iter().map(char::from).collect()
    }

    /// Prints its canonical form, which equal S-expressions share.
    pub(super) fn canonical(&self) -> Vec<u8> {
        self.print_as(CANONICAL)
    }

    fn print_as(&self, mode: c_int) -> Vec<u8> {
        // SAFETY: without a buffer it only returns the size that it needs; with one, it writes no
        // more than its size, and returns the length without the zero at the end.
        unsafe {
            let size = gcry_sexp_sprint(self.0.as_ptr(), mode, ptr::null_mut(), 0);
            let mut buffer = vec![0_u8; size];
            let length = gcry_sexp_sprint(self.0.as_ptr(), mode, buffer.as_mut_ptr().cast(), size);
            buffer.truncate(length);
            buffer
        }
    }

    /// The first list in it, at any depth, that begins with `token`.
    pub(super) fn find(&self, token: &str) -> Option<Self> {
        // SAFETY: it reads `length` bytes, and returns a new S-expression or null.
        let found = unsafe { gcry_sexp_find_token(self.0.as_ptr(), token.as_ptr().cast(), token.len()) };
        NonNull::new(found).map(Self)
    }

    /// The elements of a list that are lists themselves.
    pub(super) fn lists(&self) -> impl Iterator<Item = Self> {
        // SAFETY: it returns null for an element that does not exist or is not a list.
        let nth = |number| unsafe { gcry_sexp_nth(self.0.as_ptr(), number) };
        // SAFETY: it only counts.
        let length = unsafe { gcry_sexp_length(self.0.as_ptr()) };
        (0..length).filter_map(move |number| NonNull::new(nth(number)).map(Self))
    }

    /// The bytes of the element `number` of a list, counted from 0, if it is not a list.
    pub(super) fn data(&self, number: u8) -> Option<&[u8]> {
        let mut length = 0;
        // SAFETY: it returns null, or a pointer to this many bytes that live as long as the
        // S-expression.
        unsafe {
            let data = gcry_sexp_nth_data(self.0.as_ptr(), number.into(), &raw mut length);
            (!data.is_null()).then(|| std::slice::from_raw_parts(data.cast(), length))
        }
    }

    /// Makes a key pair with these parameters.
    pub(super) fn generate(parameters: &Self) -> Result<Self, SigningError> {
        let what = "making a key pair";
        let mut result = ptr::null_mut();
        // SAFETY: it reads the parameters, and writes one pointer.
        check(what, unsafe { gcry_pk_genkey(&raw mut result, parameters.0.as_ptr()) })?;
        Self::take(what, result)
    }

    /// Signs `data` with this secret key.
    pub(super) fn sign(&self, data: &Self) -> Result<Self, SigningError> {
        let what = "signing";
        let mut result = ptr::null_mut();
        // SAFETY: it reads both, and writes one pointer.
        check(what, unsafe { gcry_pk_sign(&raw mut result, data.0.as_ptr(), self.0.as_ptr()) })?;
        Self::take(what, result)
    }

    /// Whether `signature` is valid for `data` with this public key.
    pub(super) fn verify(&self, signature: &Self, data: &Self) -> Result<bool, SigningError> {
        // SAFETY: it only reads the three.
        let error = unsafe { gcry_pk_verify(signature.0.as_ptr(), data.0.as_ptr(), self.0.as_ptr()) };
        if error & 0xffff == BAD_SIGNATURE {
            return Ok(false);
        }
        check("checking a signature", error).map(|()| true)
    }
}
