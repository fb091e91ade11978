//! (being written)
/// stub
pub fn endpoint_is_local(_endpoint: &str) -> Result<bool, String> {
    Ok(true)
}
