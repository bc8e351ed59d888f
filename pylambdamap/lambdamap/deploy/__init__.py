"""From code on this machine to a Lambda function that runs it.

`package` makes the folder and the zip, `account` talks to AWS, `image` writes a Dockerfile. Nothing
here is needed to map; boto3 is imported when an account is touched.
"""
