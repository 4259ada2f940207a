//! Handlers for images: listing, importing and tagging.

use super::import;
use crate::store::contents;
use crate::tools::image::resolve;
use crate::tools::paths::path_in_image;
use crate::tools::results::{DeleteImage, Diff, GetImage, ImportImage, ListImages, Log, SetTag};
use crate::tools::{Context, Handlers, ImagesTools, ToolError, lineage, params};
use crate::{DiffRequest, ImageRef, LogRequest};

impl ImagesTools for Handlers {
    async fn list_images(
        &self,
        arguments: params::ListImages,
        cx: &Context,
    ) -> Result<ListImages, ToolError> {
        let params::ListImages {
            limit,
            offset,
            tagged,
            tag_prefix,
            since,
            until,
        } = arguments;
        // A client's placeholder, since nothing was made before the year 1970.
        let until = until.filter(|time| time.trim() != "0");
        let client = cx.client().await?;
        let mut request = client.list_images().limit(limit).offset(offset);
        if tagged {
            request = request.tagged("1");
        }
        let prefix = tag_prefix.as_deref();
        let prefix = prefix
            .map(|prefix| prefix.strip_prefix("tag:").unwrap_or(prefix))
            .filter(|prefix| !prefix.is_empty());
        if let Some(prefix) = prefix {
            // The API accepts no prefix that ends in a separator.
            request = match prefix.trim_end_matches([':', '/', '.']) {
                "" => request.tagged("1"),
                prefix => request.tag(prefix),
            };
        }
        if let Some(since) = &since {
            request = request.since(since);
        }
        if let Some(until) = &until {
            request = request.until(until);
        }
        let mut images = request.send().await?.into_inner().images;
        let next = (images.len() as u64 >= limit).then(|| {
            let mut call = format!(
                "list_images(offset={}, limit={}",
                offset + images.len() as u64,
                limit
            );
            if tagged {
                call.push_str(", tagged=true");
            }
            for (name, value) in [
                ("tag_prefix", &tag_prefix),
                ("since", &since),
                ("until", &until),
            ] {
                if let Some(value) = value {
                    call.push_str(&format!(
                        ", {name}={}",
                        serde_json::Value::from(value.as_str())
                    ));
                }
            }
            call.push(')');
            call
        });
        if let Some(prefix) = prefix {
            let begins = |tag: &String| tag.starts_with(prefix);
            images.retain(|image| image.tag.as_ref().is_some_and(begins));
        }
        Ok(ListImages {
            images: images.into_iter().map(Into::into).collect(),
            next,
        })
    }

    async fn import_image(
        &self,
        arguments: params::ImportImage,
        cx: &Context,
    ) -> Result<ImportImage, ToolError> {
        import::import(arguments, cx).await
    }

    async fn get_image(
        &self,
        arguments: params::GetImage,
        cx: &Context,
    ) -> Result<GetImage, ToolError> {
        let params::GetImage { image } = arguments;
        let image: ImageRef = image.parse()?;
        let mut found: GetImage = cx.client().await?.resolve(&image).await?.into();
        // An image may have several tags. The backend shows one, which may be another than the
        // given one.
        if let ImageRef::Tag(tag) = image {
            found.tag = Some(tag);
        }
        Ok(found)
    }

    async fn set_tag(&self, arguments: params::SetTag, cx: &Context) -> Result<SetTag, ToolError> {
        let params::SetTag { image_uuid, tag } = arguments;
        let client = cx.client().await?;
        let image = crate::tools::image::resolve(client, &image_uuid).await?;
        let Some(tag) = tag else {
            let removed = client.delete_image_tag().image_uuid(image).send().await;
            removed.map_err(|error| {
                ToolError::from(error).safe_to_repeat("The tags may be removed nevertheless.")
            })?;
            return Ok(client.resolve(&ImageRef::Uuid(image)).await?.into());
        };
        let tag = tag.strip_prefix("tag:").unwrap_or(&tag).to_owned();
        let body = crate::types::ImageTagRequest { tag };
        let tagged = client
            .update_image_tag()
            .image_uuid(image)
            .body(body)
            .send()
            .await
            .map_err(|error| {
                ToolError::from(error).safe_to_repeat("The tag may be set nevertheless.")
            })?;
        Ok(tagged.into_inner().into())
    }

    async fn log(&self, arguments: params::Log, cx: &Context) -> Result<Log, ToolError> {
        let params::Log {
            image,
            limit,
            offset,
            children,
        } = arguments;
        let client = cx.client().await?;
        cx.unless_cancelled(async {
            let uuid = resolve(client, &image).await?;
            let request = LogRequest {
                limit,
                offset,
                children,
            };
            let memory = lineage::memory(cx, client);
            let log = client.log_with(uuid, request, &memory).await?;
            let next = log.next.map(|offset| {
                let children = if children { ", children=true" } else { "" };
                format!("log(image=\"{uuid}\", offset={offset}, limit={limit}{children})")
            });
            Ok::<_, ToolError>(Log::new(log, next))
        })
        .await
    }

    async fn diff(&self, arguments: params::Diff, cx: &Context) -> Result<Diff, ToolError> {
        let params::Diff {
            image,
            base,
            path,
            patch,
            limit,
            offset,
        } = arguments;
        let client = cx.client().await?;
        cx.unless_cancelled(async {
            let uuid = resolve(client, &image).await?;
            let base = match base {
                Some(base) => Some(resolve(client, &base).await?),
                None if client.has_extension("diff").await? => None,
                None => client.parent_of(uuid, &lineage::memory(cx, client)).await?,
            };
            let request = DiffRequest {
                base,
                path: path_in_image(&path),
                patch,
                limit,
                offset,
            };
            let diff = client.diff(uuid, &request).await?;
            let next = diff.next.map(|offset| {
                let path = serde_json::Value::from(request.path.as_str());
                let patch = if patch { ", patch=true" } else { "" };
                format!(
                    "diff(image=\"{uuid}\", base=\"{}\", path={path}{patch}, offset={offset}, limit={limit})",
                    diff.base
                )
            });
            Ok::<_, ToolError>(Diff::new(diff, next))
        })
        .await
    }

    async fn delete_image(
        &self,
        arguments: params::DeleteImage,
        cx: &Context,
    ) -> Result<DeleteImage, ToolError> {
        let params::DeleteImage { image, force } = arguments;
        let client = cx.client().await?;
        let uuid = resolve(client, &image).await?;
        let deleted = client.delete_image_record(uuid, force).await;
        let deleted = deleted.map_err(|error| {
            ToolError::from(error).safe_to_repeat("The image may be deleted nevertheless.")
        })?;
        let (backend, key) = (client.backend().identity(), uuid.to_string());
        let store = cx.session().store();
        let forgotten = store.write(move |c| contents::forget_image(c, &backend, &key));
        if let Err(error) = forgotten.await {
            tracing::warn!("cannot remove cached contents of a deleted image: {error}");
        }
        Ok(deleted.into())
    }
}
